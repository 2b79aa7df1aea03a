"""Header blocks: literals out, and in whatever a server may send that was told to keep no dynamic table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.load.hpack import (
    STATIC_TABLE,
    HpackError,
    decode_headers,
    decode_integer,
    encode_headers,
    encode_integer,
)


@pytest.mark.parametrize(
    ("value", "prefix_bits", "encoded"),
    [(10, 5, "0a"), (1337, 5, "1f9a0a"), (42, 8, "2a"), (31, 5, "1f00"), (127, 7, "7f00")],
)
def test_integers_are_those_of_the_rfc(value: int, prefix_bits: int, encoded: str) -> None:
    assert encode_integer(value, prefix_bits).hex() == encoded
    assert decode_integer(bytes.fromhex(encoded), 0, prefix_bits) == (value, len(encoded) // 2)


@given(st.integers(0, 2**40), st.integers(1, 8), st.binary(max_size=3))
def test_every_integer_comes_back(value: int, prefix_bits: int, after: bytes) -> None:
    encoded = encode_integer(value, prefix_bits)
    assert decode_integer(encoded + after, 0, prefix_bits) == (value, len(encoded))


@given(st.dictionaries(st.binary(min_size=1, max_size=300), st.binary(max_size=300), max_size=10))
def test_literals_come_back(headers: dict[bytes, bytes]) -> None:
    assert decode_headers(encode_headers(headers.items())) == headers


def test_a_literal_is_neither_indexed_nor_huffman_coded() -> None:
    assert encode_headers([(b"te", b"trailers")]) == b"\x00\x02te\x08trailers"


@pytest.mark.parametrize(
    ("block", "headers"),
    [
        ("400a637573746f6d2d6b65790d637573746f6d2d686561646572", {b"custom-key": b"custom-header"}),
        ("040c2f73616d706c652f70617468", {b":path": b"/sample/path"}),
        ("100870617373776f726406736563726574", {b"password": b"secret"}),
        ("82", {b":method": b"GET"}),
        ("20885f106170706c69636174696f6e2f67727063", {b":status": b"200", b"content-type": b"application/grpc"}),
    ],
)
def test_the_forms_of_the_rfc_are_read(block: str, headers: dict[bytes, bytes]) -> None:
    assert decode_headers(bytes.fromhex(block)) == headers


def test_the_static_table_is_that_of_the_rfc() -> None:
    assert len(STATIC_TABLE) == 61
    assert STATIC_TABLE[16 - 1] == (b"accept-encoding", b"gzip, deflate")
    assert STATIC_TABLE[61 - 1] == (b"www-authenticate", b"")


def test_what_is_huffman_coded_is_left_out_and_what_follows_is_read() -> None:
    huffman = b"\x00\x07bin-key\x83abc"
    assert decode_headers(huffman + encode_headers([(b"grpc-status", b"0")])) == {b"grpc-status": b"0"}


@pytest.mark.parametrize("block", ["be", "80", "7f0001", "00026162ff", "0005ab"])
def test_a_dynamic_index_and_a_cut_off_block_are_refused(block: str) -> None:
    with pytest.raises(HpackError):
        decode_headers(bytes.fromhex(block))
