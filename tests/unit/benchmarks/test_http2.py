"""HTTP/2 frames come back whole, however the stream of bytes is cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.load.http2 import (
    MAX_PAYLOAD,
    Flag,
    Frame,
    FrameReader,
    FrameType,
    Http2Error,
    Setting,
    read_settings,
    strip_padding,
    write_frame,
    write_settings,
)

FRAMES = st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 2**31 - 1), st.binary(max_size=300))


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@given(st.lists(FRAMES, max_size=8), st.lists(st.integers(0, 10_000), max_size=12))
def test_frames_come_back_however_the_bytes_are_cut(frames: list[Frame], places: list[int]) -> None:
    data = b"".join(write_frame(*frame) for frame in frames)
    reader = FrameReader()
    assert [frame for piece in cut(data, places) for frame in reader.feed(piece)] == frames


def test_a_frame_comes_with_its_last_byte() -> None:
    reader = FrameReader()
    data = write_frame(FrameType.DATA, 0, 1, b"payload")
    assert [reader.feed(data[index : index + 1]) for index in range(len(data))][:-1] == [[]] * (len(data) - 1)
    assert reader.feed(data) == [(FrameType.DATA, 0, 1, b"payload")]


def test_the_largest_frame_passes_and_a_larger_one_is_refused() -> None:
    largest = write_frame(FrameType.DATA, 0, 1, b"x" * MAX_PAYLOAD)
    assert FrameReader().feed(largest)[0][3] == b"x" * MAX_PAYLOAD
    with pytest.raises(Http2Error):
        FrameReader().feed(write_frame(FrameType.DATA, 0, 1, b"x" * (MAX_PAYLOAD + 1))[:9])


def test_the_reserved_bit_of_a_stream_id_is_ignored() -> None:
    data = write_frame(FrameType.DATA, 0, 2**31 + 5)
    assert FrameReader().feed(data) == [(FrameType.DATA, 0, 5, b"")]


def test_settings_come_back() -> None:
    settings = {Setting.HEADER_TABLE_SIZE: 0, Setting.INITIAL_WINDOW_SIZE: 2**31 - 1}
    (frame,) = FrameReader().feed(write_settings(settings))
    assert read_settings(frame[3]) == settings


@pytest.mark.parametrize(
    ("flags", "payload", "content"),
    [
        (0, b"abc", b"abc"),
        (Flag.PADDED, b"\x02abc\0\0", b"abc"),
        (Flag.PADDED, b"\x00", b""),
        (Flag.PRIORITY, b"\0\0\0\0\x10abc", b"abc"),
        (Flag.PADDED | Flag.PRIORITY, b"\x01\0\0\0\0\x10abc\0", b"abc"),
    ],
)
def test_padding_and_priority_are_taken_off(flags: int, payload: bytes, content: bytes) -> None:
    assert strip_padding(flags, payload) == content


@pytest.mark.parametrize("payload", [b"", b"\x05abc"])
def test_padding_longer_than_its_frame_is_refused(payload: bytes) -> None:
    with pytest.raises(Http2Error):
        strip_padding(Flag.PADDED, payload)
