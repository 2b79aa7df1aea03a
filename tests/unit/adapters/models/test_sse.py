"""The event parser finds the same events however the bytes are cut."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from chatter_grpc.adapters.models.sse import EventParser

ENOUGH = 1_000_000

LINES = st.one_of(
    st.just(b""),
    st.sampled_from(
        [b"data", b"data:", b"data: ", b":", b": comment", b"event: x", b"id:1", b"retry: 5", b"datax: no"]
    ),
    st.binary(max_size=12).map(lambda tail: b"data: " + tail.replace(b"\n", b"")),
    st.binary(max_size=12).map(lambda tail: b"data:" + tail.replace(b"\n", b"")),
    st.text(max_size=8).map(lambda tail: b"data: " + tail.replace("\n", "").encode("utf-8", "ignore")),
)
STREAMS = st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\n", b"\r\n"]))).map(
    lambda lines: b"".join(line + end for line, end in lines)
)


def reference(stream: bytes) -> list[bytes]:
    """The standard's algorithm, a line at a time, over the whole stream."""
    found: list[bytes] = []
    data: list[bytes] = []
    for line in stream.replace(b"\r\n", b"\n").split(b"\n")[:-1]:
        if not line:
            if data:
                found.append(b"\n".join(data))
            data = []
            continue
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value.removeprefix(b" "))
    return found


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(edges)]


def parse(pieces: list[bytes], *, max_event_bytes: int = ENOUGH) -> list[bytes]:
    parser = EventParser(max_event_bytes=max_event_bytes)
    found = [event for piece in pieces for event in parser.feed(piece)]
    assert not parser.overflowed
    return found


@settings(deadline=None)
@given(STREAMS, st.lists(st.integers(min_value=0), max_size=12))
def test_any_cutting_of_a_stream_gives_the_standards_events(stream: bytes, places: list[int]) -> None:
    assert parse(cut(stream, places)) == reference(stream)


@settings(deadline=None)
@given(STREAMS)
def test_a_stream_that_comes_byte_by_byte_gives_the_standards_events(stream: bytes) -> None:
    assert parse([bytes([byte]) for byte in stream]) == reference(stream)


def test_events_end_at_blank_lines_of_either_kind() -> None:
    assert parse([b"data: one\r\n\r\ndata: two\n\ndata: three\r\n\n"]) == [b"one", b"two", b"three"]


def test_several_data_lines_make_one_event() -> None:
    assert parse([b"data: {\ndata:  1\ndata:}\n\n"]) == [b"{\n 1\n}"]


def test_comments_and_other_fields_are_no_events() -> None:
    assert parse([b": keep-alive\n\nevent: ping\nid: 7\n\ndata: x\n\n"]) == [b"x"]


def test_a_character_that_is_cut_in_two_stays_whole() -> None:
    stream = "data: \N{SNOWMAN}\n\n".encode()
    assert parse([stream[:7], stream[7:]]) == ["\N{SNOWMAN}".encode()]


def test_an_event_that_breaks_off_is_dropped() -> None:
    assert parse([b"data: whole\n\ndata: bro"]) == [b"whole"]


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(10, 50), st.lists(st.integers(min_value=0), max_size=8))
def test_an_event_overflows_by_its_size_and_not_by_how_it_is_cut(size: int, most: int, places: list[int]) -> None:
    event = b"data: " + b"x" * size
    parser = EventParser(max_event_bytes=most)
    found = [each for piece in cut(b"data: a\n\n" + event + b"\n\n", places) for each in parser.feed(piece)]
    assert parser.overflowed == (len(event) > most)
    assert found == ([b"a"] if parser.overflowed else [b"a", b"x" * size])


def test_an_event_without_end_overflows_before_it_fills_the_memory() -> None:
    parser = EventParser(max_event_bytes=1000)
    fed = 0
    while not parser.overflowed:
        assert parser.feed(b"x" * 100) == []
        fed += 100
    assert fed <= 1200
    assert parser.feed(b"\n\ndata: later\n\n") == []
