"""Plain HTTP streams are recorded as they come, and count only where they are whole."""

import asyncio
import json
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.answers import AnswerPlan, write_token
from benchmarks.load.calls import Call, CallSpec, split_events
from benchmarks.load.folding import StreamFault, Wire, read_stream
from benchmarks.load.http1 import HttpConnection

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
SPEC = CallSpec(path="/chat", request=b'{"text": "?"}', metadata=(("x-a", "b"),))
PLAN = AnswerPlan(tokens=3)
TOKENS = [write_token(index, 77) for index in range(PLAN.tokens)]


def chunked(*events: str) -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(data), data) for data in (f"data: {event}\n\n".encode() for event in events))
    return body + b"0\r\n\r\n"


def cut(data: bytes, sizes: list[int]) -> list[tuple[int, bytes]]:
    pieces: list[tuple[int, bytes]] = []
    for size in [*sizes, len(data) + 1]:
        piece, data = data[:size], data[size:]
        if piece:
            pieces.append((len(pieces), piece))
    return pieces


@given(st.lists(st.text("ab{}0 ", max_size=9), max_size=8), st.lists(st.integers(1, 30), max_size=30))
def test_events_come_back_however_their_bytes_arrive(events: list[str], sizes: list[int]) -> None:
    split = split_events(cut(chunked(*events), sizes))
    assert [data.decode() for _, data in split] == events
    assert [time for time, _ in split] == sorted(time for time, _ in split)


@pytest.mark.parametrize("missing", [1, 5, 9])
def test_a_body_that_is_cut_off_is_no_body(missing: int) -> None:
    with pytest.raises(ValueError, match="cut off"):
        split_events([(0, chunked("abc")[:-missing])])


def connected() -> tuple[HttpConnection, Mock, Call, list[Call]]:
    ended: list[Call] = []
    connection, transport = HttpConnection("here:1"), Mock(spec=asyncio.Transport)
    connection.connection_made(transport)
    call = Call(on_end=ended.append, http=True)
    connection.start(SPEC, call)
    return connection, transport, call, ended


@given(st.lists(st.integers(1, 40), max_size=30))
def test_a_call_ends_with_its_last_chunk_and_no_sooner(sizes: list[int]) -> None:
    connection, transport, call, ended = connected()
    assert transport.write.call_args.args[0].startswith(b"POST /chat HTTP/1.1\r\nhost: here:1\r\n")
    assert transport.write.call_args.args[0].endswith(b"content-length: 13\r\nx-a: b\r\n\r\n" + SPEC.request)
    pieces = cut(HEAD + chunked("one", "two"), sizes)
    for _, piece in pieces[:-1]:
        connection.data_received(piece)
        assert not ended
    connection.data_received(pieces[-1][1])
    assert ended == [call]
    assert call.fault() == ""
    assert [data for _, data in split_events(call.chunks)] == [b"one", b"two"]


def test_a_refusal_is_a_fault() -> None:
    connection, _, call, ended = connected()
    connection.data_received(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")
    assert ended == [call]
    assert call.fault() == "HTTP status 503"


def test_a_connection_that_is_lost_ends_its_call_and_takes_no_other() -> None:
    connection, _, call, ended = connected()
    connection.data_received(HEAD + b"3\r\nab")
    connection.connection_lost(None)
    assert ended == [call]
    assert "lost" in call.fault()
    with pytest.raises(ConnectionError):
        connection.start(SPEC, Call(on_end=ended.append))


def completion(text: str | None) -> str:
    return json.dumps({"choices": [{"delta": {} if text is None else {"content": text}}]})


ANSWERS = {
    Wire.COMPLETIONS: [completion(""), *map(completion, TOKENS), completion(None), '{"choices": []}', "[DONE]"],
    Wire.EVENTS: [json.dumps({"text": token}) for token in TOKENS],
}


@pytest.mark.parametrize("wire", ANSWERS)
def test_a_whole_answer_is_read_from_either_kind_of_events(wire: Wire) -> None:
    call = Call(on_end=lambda _: None, http=True, headers={b":status": b"200"}, chunks=[(100, chunked(*ANSWERS[wire]))])
    assert read_stream(call, wire, PLAN).tokens == PLAN.tokens


@pytest.mark.parametrize("wire", ANSWERS)
def test_a_lost_token_is_a_fault_over_http_too(wire: Wire) -> None:
    events = [event for event in ANSWERS[wire] if TOKENS[1] not in event]
    call = Call(on_end=lambda _: None, http=True, headers={b":status": b"200"}, chunks=[(100, chunked(*events))])
    with pytest.raises(StreamFault, match="differs"):
        read_stream(call, wire, PLAN)
