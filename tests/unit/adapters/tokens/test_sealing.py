"""What is sealed opens in its own place, under its own key, unchanged, or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatter_grpc.adapters.tokens.sealing import SealBroken, Sealer

KEY = bytes(range(32))


@given(st.binary(max_size=200), st.text(max_size=50))
def test_what_was_sealed_comes_back(plain: bytes, context: str) -> None:
    sealer = Sealer(KEY)
    assert sealer.unseal(sealer.seal(plain, context), context) == plain


def test_sealing_twice_shows_no_likeness() -> None:
    sealer = Sealer(KEY)
    assert sealer.seal(b"private", "place") != sealer.seal(b"private", "place")


def test_another_place_does_not_open_it() -> None:
    sealer = Sealer(KEY)
    with pytest.raises(SealBroken):
        sealer.unseal(sealer.seal(b"private", "here"), "there")


def test_another_key_does_not_open_it() -> None:
    with pytest.raises(SealBroken):
        Sealer(bytes(32)).unseal(Sealer(KEY).seal(b"private", "place"), "place")


@given(st.binary(max_size=60))
def test_garbage_does_not_open(sealed: bytes) -> None:
    with pytest.raises(SealBroken):
        Sealer(KEY).unseal(sealed, "place")


@given(st.integers(min_value=0, max_value=12 + 7 + 16 - 1), st.integers(min_value=1, max_value=255))
def test_a_changed_byte_anywhere_is_noticed(position: int, difference: int) -> None:
    sealed = bytearray(Sealer(KEY).seal(b"private", "place"))
    sealed[position] ^= difference
    with pytest.raises(SealBroken):
        Sealer(KEY).unseal(bytes(sealed), "place")
