"""A recorded call is split into its messages with the time at which each was whole, and tells how it ended."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.load.calls import Call, frame_message, split_messages


@given(st.lists(st.binary(max_size=200), max_size=10), st.lists(st.integers(1, 60), max_size=40))
def test_messages_come_back_with_the_time_of_their_last_byte(messages: list[bytes], sizes: list[int]) -> None:
    data = b"".join(map(frame_message, messages))
    chunks: list[tuple[int, bytes]] = []
    for size in [*sizes, len(data) + 1]:
        chunk, data = data[:size], data[size:]
        if chunk:
            chunks.append((len(chunks), chunk))
    split = split_messages(chunks)
    assert [message for _, message in split] == messages
    received = 0
    ends = []
    for _, chunk in chunks:
        received += len(chunk)
        ends.append(received)
    position = 0
    for time, message in split:
        position += 5 + len(message)
        assert time == next(number for number, end in enumerate(ends) if end >= position)


@pytest.mark.parametrize("missing", [1, 3, 7])
def test_a_message_that_is_cut_off_is_no_message(missing: int) -> None:
    with pytest.raises(ValueError, match="cut off"):
        split_messages([(0, frame_message(b"abc")[:-missing])])


def test_a_compressed_message_is_refused() -> None:
    with pytest.raises(ValueError, match="compressed"):
        split_messages([(0, b"\x01" + frame_message(b"abc")[1:])])


@pytest.mark.parametrize(
    ("headers", "error", "fault"),
    [
        ({b"grpc-status": b"0"}, "", ""),
        ({b"grpc-status": b"8", b"grpc-message": b"slow down"}, "", "grpc-status 8: slow down"),
        ({b":status": b"502"}, "", "no grpc-status (HTTP 502)"),
        ({b"grpc-status": b"0"}, "the stream was reset", "the stream was reset"),
    ],
)
def test_a_call_tells_how_it_ended(headers: dict[bytes, bytes], error: str, fault: str) -> None:
    assert Call(on_end=lambda _: None, headers=headers, error=error).fault() == fault
