"""A stream counts only if it folds to the whole answer: a lost, repeated, swapped or changed token is a fault."""

import hashlib

import pytest

from benchmarks.answers import AnswerPlan, write_rest, write_token
from benchmarks.load.calls import Call, frame_message
from benchmarks.load.folding import StreamFault, Wire, read_stream
from chatter_grpc._gen.chatter.v1.chat_service_pb2 import SendMessageResponse
from chatter_grpc._gen.chatter.v1.content_pb2 import TextPart
from chatter_grpc._gen.chatter.v1.run_event_pb2 import (
    MessageDiscarded,
    MessageFinished,
    MessageStarted,
    RunCancelled,
    RunCompleted,
    RunEvent,
    RunFailed,
    RunStarted,
    TextDelta,
)

PLAN = AnswerPlan(tokens=4, rate=100)
EPOCH = 1_000
TOKENS = [write_token(index, EPOCH) for index in range(PLAN.tokens)]
TEXT = "".join(TOKENS)


def delta(first_seq: int, seq: int, text: str, message_id: str = "m") -> RunEvent:
    return RunEvent(first_seq=first_seq, seq=seq, text_delta=TextDelta(message_id=message_id, text=text))


def finished(seq: int, text: str) -> RunEvent:
    digest = hashlib.sha256(text.encode()).hexdigest()
    return RunEvent(first_seq=seq, seq=seq, message_finished=MessageFinished(message_id="m", text_sha256=digest))


STARTED = RunEvent(first_seq=1, seq=1, run_started=RunStarted(run_id="r"))
BEGUN = RunEvent(first_seq=2, seq=2, message_started=MessageStarted(message_id="m"))
COMPLETED = RunEvent(first_seq=8, seq=8, completed=RunCompleted())
# A frame per list; the second delta stands for tokens 1 and 2.
WHOLE = [
    [STARTED, BEGUN],
    [delta(3, 3, TOKENS[0])],
    [delta(4, 5, TOKENS[1] + TOKENS[2]), delta(6, 6, TOKENS[3])],
    [finished(7, TEXT), COMPLETED],
]


def record(messages: list[bytes], *, status: bytes = b"0") -> Call:
    """A call whose messages arrived at 1 ms, 2 ms, and so on."""
    chunks = [(number * 1_000_000, frame_message(message)) for number, message in enumerate(messages, 1)]
    headers = {b"grpc-status": status}
    return Call(on_end=lambda _: None, started=500, ended=9_000_000, chunks=chunks, headers=headers)


def record_run(frames: list[list[RunEvent]]) -> Call:
    return record([SendMessageResponse(cursor="c", events=events).SerializeToString() for events in frames])


def record_text(pieces: list[str]) -> Call:
    return record([TextPart(text=piece).SerializeToString() for piece in pieces])


def test_a_whole_run_is_counted_by_its_text() -> None:
    stream = read_stream(record_run(WHOLE), Wire.RUN, PLAN)
    assert (stream.messages, stream.tokens) == (4, 4)
    assert (stream.started, stream.first_token, stream.ended) == (500, 2_000_000, 9_000_000)
    # Token i is due 10 ms after token i - 1; the first frame with text came at 2 ms, the other at 3 ms.
    assert stream.lateness == [2_000_000 - 1_000, *(3_000_000 - 1_000 - due * 10_000_000 for due in (1, 2, 3))]


def test_a_whole_stream_of_text_is_counted_by_its_text() -> None:
    stream = read_stream(record_text([*TOKENS[:2], TOKENS[2] + TOKENS[3]]), Wire.TEXT, PLAN)
    assert (stream.messages, stream.tokens, stream.first_token) == (3, 4, 1_000_000)


@pytest.mark.parametrize(
    "pieces",
    [
        TOKENS[:-1],
        TOKENS[1:],
        [*TOKENS, TOKENS[-1]],
        [TOKENS[0], TOKENS[2], TOKENS[1], TOKENS[3]],
        [TOKENS[0], TOKENS[1], TOKENS[1], TOKENS[3]],
        [*TOKENS[:-1], TOKENS[-1].upper() + "!"],
        [],
    ],
    ids=["last lost", "first lost", "repeated", "swapped", "doubled", "changed", "nothing"],
)
def test_a_text_that_is_not_the_answer_is_a_fault(pieces: list[str]) -> None:
    with pytest.raises(StreamFault):
        read_stream(record_text(pieces), Wire.TEXT, PLAN)


@pytest.mark.parametrize(
    ("frames", "fault"),
    [
        ([[STARTED, BEGUN, delta(4, 4, TEXT), finished(5, TEXT)]], "4-4 comes after 2"),
        ([[STARTED, BEGUN, delta(3, 4, TEXT), delta(4, 4, "")]], "4-4 comes after 4"),
        ([[STARTED, BEGUN, delta(3, 6, TEXT), finished(7, TEXT[:-1]), COMPLETED]], "text_sha256"),
        ([[STARTED, BEGUN, delta(3, 6, TEXT, "n")]], "not being written"),
        ([[STARTED, BEGUN, delta(3, 6, TEXT), finished(7, TEXT)]], "ended before its run"),
        ([*WHOLE, [finished(9, TEXT)]], "after the last"),
        ([[STARTED, BEGUN, RunEvent(first_seq=3, seq=3, message_started=MessageStarted())]], "second message"),
        ([[STARTED, RunEvent(first_seq=2, seq=2, message_discarded=MessageDiscarded())]], "discarded"),
        ([[STARTED, RunEvent(first_seq=2, seq=2, failed=RunFailed(message="no provider"))]], "no provider"),
        ([[STARTED, RunEvent(first_seq=2, seq=2, cancelled=RunCancelled())]], "ended otherwise"),
    ],
)
def test_a_run_that_breaks_the_contract_is_a_fault(frames: list[list[RunEvent]], fault: str) -> None:
    with pytest.raises(StreamFault, match=fault):
        read_stream(record_run(frames), Wire.RUN, PLAN)


def test_a_whole_text_with_another_status_is_a_fault() -> None:
    call = record([TextPart(text=TEXT).SerializeToString()], status=b"14")
    with pytest.raises(StreamFault, match="grpc-status 14"):
        read_stream(call, Wire.TEXT, PLAN)


def test_a_fault_says_where_the_text_differs() -> None:
    wrong = TOKENS[0] + write_rest(PLAN.tokens).replace("0002", "0009")
    with pytest.raises(StreamFault, match=f"differs at {TEXT.index('0002') + 3}"):
        read_stream(record_text([wrong]), Wire.TEXT, PLAN)


def test_bytes_that_are_no_message_are_a_fault() -> None:
    with pytest.raises(StreamFault):
        read_stream(record([b"\xff"]), Wire.TEXT, PLAN)
