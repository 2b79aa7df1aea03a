"""Frames: a chunk of a run's log on the wire, merged without loss and small enough for every client."""

from collections.abc import Sequence

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st

from chatter_grpc._gen.chatter.v1 import chat_service_pb2, content_pb2, error_reason_pb2, run_event_pb2, run_service_pb2
from chatter_grpc.core import errors
from chatter_grpc.core.errors import ChatterError, reason_of
from chatter_grpc.core.messages import sha256_of
from chatter_grpc.core.models import FinishReason, Role
from chatter_grpc.core.runs.events import (
    AttemptStarted,
    Body,
    DeltaKind,
    Deltas,
    Entry,
    MessageDiscarded,
    MessageFinished,
    MessageStarted,
    NodeFinished,
    NodeStarted,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunStarted,
    StoredMessage,
    UsageReported,
)
from chatter_grpc.core.runs.fold import Fold
from chatter_grpc.core.runs.reader import FRAME_SIZE, Chunk, Control
from chatter_grpc.core.runs.run import LogPosition
from chatter_grpc.core.runs.tail import fitting
from chatter_grpc.core.runs.writer import MAX_DELTA
from chatter_grpc.core.usage import Usage
from chatter_grpc.rpc.cursors import CursorSigner
from chatter_grpc.rpc.frames import CONTROLS, FINISH_REASONS, ROLES, frame_of
from tests.support.fold import ClientFold

CURSORS = CursorSigner(bytes(16)).for_run("owner", "run")
TIME_US = 1_700_000_000_123_456
USAGE = Usage(input_tokens=3, output_tokens=5, cost_micros=9, estimated=True)
PROTO_USAGE = {"inputTokens": "3", "outputTokens": "5", "costMicros": "9", "estimated": True}
STORED = (StoredMessage("m", "hash"),)
PROTO_STORED = [{"messageId": "m", "textSha256": "hash"}]
MAX_FRAME = 4 * 1024 * 1024

BODIES: dict[str, tuple[Body, dict[str, object]]] = {
    "run_started": (
        RunStarted("run", "conv", "msg"),
        {"runId": "run", "conversationId": "conv", "userMessageId": "msg"},
    ),
    "attempt_started": (AttemptStarted(), {}),
    "node_started": (NodeStarted("n", "model"), {"nodeId": "n", "nodeType": "model"}),
    "node_finished": (NodeFinished("n"), {"nodeId": "n"}),
    "message_started": (
        MessageStarted("m", Role.ASSISTANT, "a/b", "a"),
        {"messageId": "m", "role": "ROLE_ASSISTANT", "model": "a/b", "provider": "a"},
    ),
    "text_delta": (Deltas(DeltaKind.TEXT, "m", ["x", "y"]), {"messageId": "m", "text": "xy"}),
    "reasoning_delta": (Deltas(DeltaKind.REASONING, "m", ["x", "y"]), {"messageId": "m", "text": "xy"}),
    "usage": (UsageReported("m", "a/b", USAGE), {"messageId": "m", "model": "a/b", "usage": PROTO_USAGE}),
    "message_discarded": (MessageDiscarded("m"), {"messageId": "m"}),
    "message_finished": (
        MessageFinished("m", "hash", FinishReason.LENGTH, USAGE, 12),
        {"messageId": "m", "textSha256": "hash", "finishReason": "FINISH_REASON_LENGTH", "usage": PROTO_USAGE},
    ),
    "completed": (RunCompleted(STORED, USAGE), {"messages": PROTO_STORED, "usage": PROTO_USAGE}),
    "failed": (
        RunFailed("PROVIDER_TIMEOUT", "too late", STORED, USAGE),
        {
            "reason": "ERROR_REASON_PROVIDER_TIMEOUT",
            "message": "too late",
            "messages": PROTO_STORED,
            "usage": PROTO_USAGE,
        },
    ),
    "cancelled": (RunCancelled(STORED, USAGE), {"messages": PROTO_STORED, "usage": PROTO_USAGE}),
}


def frame(entries: Sequence[Entry], control: Control | None = None) -> run_service_pb2.WatchRunResponse:
    position = LogPosition(entries[-1].attempt, entries[-1].seq) if entries else LogPosition(1, 7)
    return frame_of(Chunk(tuple(entries), position, control), CURSORS, run_service_pb2.WatchRunResponse)


def deltas(first_seq: int, *pieces: str, step: str = "1.1", message: str = "m", attempt: int = 1) -> Entry:
    return Entry(first_seq, attempt, step, TIME_US, Deltas(DeltaKind.TEXT, message, pieces))


@pytest.mark.parametrize("name", BODIES)
def test_every_event_says_on_the_wire_what_it_says_in_the_log(name: str) -> None:
    body, expected = BODIES[name]
    (event,) = frame([Entry(5, 2, "2.1", TIME_US, body)]).events
    assert event.WhichOneof("event") == name
    assert MessageToDict(getattr(event, name)) == expected
    assert (event.first_seq, event.attempt, event.step_id) == (5, 2, "2.1")
    assert event.seq == (6 if isinstance(body, Deltas) else 5)
    assert event.time.ToMicroseconds() == TIME_US


def test_the_table_above_has_every_event_of_the_contract() -> None:
    assert set(BODIES) == {field.name for field in run_event_pb2.RunEvent.DESCRIPTOR.oneofs_by_name["event"].fields}


def test_an_unknown_cost_is_not_sent_as_zero() -> None:
    (event,) = frame([Entry(1, 1, "", 0, RunCompleted((), Usage(cost_micros=None)))]).events
    assert not event.completed.usage.HasField("cost_micros")
    (event,) = frame([Entry(1, 1, "", 0, RunCompleted((), Usage(cost_micros=0)))]).events
    assert event.completed.usage.HasField("cost_micros")


def test_every_role_finish_reason_and_control_is_in_the_contract() -> None:
    assert set(ROLES) == set(Role)
    assert set(FINISH_REASONS) == set(FinishReason)
    assert {*CONTROLS, Control.SNAPSHOT} == set(Control)
    assert content_pb2.ROLE_UNSPECIFIED not in ROLES.values()
    assert content_pb2.FINISH_REASON_UNSPECIFIED not in FINISH_REASONS.values()


def test_a_run_may_fail_for_every_reason_of_the_catalogue() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ChatterError)]
    for kind in kinds:
        if kind is not ChatterError:
            (event,) = frame([Entry(1, 1, "", 0, RunFailed(reason_of(kind), "", (), Usage()))]).events
            name = error_reason_pb2.ErrorReason.Name(event.failed.reason)
            assert name == f"ERROR_REASON_{reason_of(kind)}"


@pytest.mark.parametrize("control", list(Control))
def test_a_control_comes_with_a_cursor_also_without_events(control: Control) -> None:
    found = frame([], control)
    assert found.control.WhichOneof("control") == control.value
    assert CURSORS.decode(found.cursor) == (1, 7)
    assert not found.events


def test_a_frame_of_events_alone_has_no_control_and_the_cursor_of_its_last_event() -> None:
    found = frame([deltas(1, "a", "b")])
    assert not found.HasField("control")
    assert CURSORS.decode(found.cursor) == (1, 2)


def test_the_frames_of_all_streams_are_alike() -> None:
    chunk = Chunk((deltas(1, "a"),), LogPosition(1, 1), Control.CAUGHT_UP)
    sent = frame_of(chunk, CURSORS, chat_service_pb2.SendMessageResponse)
    watched = frame_of(chunk, CURSORS, run_service_pb2.WatchRunResponse)
    assert sent.SerializeToString() == watched.SerializeToString()


def test_adjacent_deltas_of_one_message_and_step_are_one_event() -> None:
    (event,) = frame([deltas(4, "a", "b"), deltas(6, "c"), deltas(7, "d")]).events
    assert (event.first_seq, event.seq, event.text_delta.text) == (4, 7, "abcd")


@pytest.mark.parametrize(
    "other",
    [
        deltas(2, "b", message="other"),
        deltas(2, "b", step="1.2"),
        deltas(2, "b", attempt=2),
        Entry(2, 1, "1.1", TIME_US, Deltas(DeltaKind.REASONING, "m", ["b"])),
        Entry(2, 1, "1.1", TIME_US, NodeFinished("n")),
    ],
    ids=["message", "step", "attempt", "kind", "event"],
)
def test_what_is_not_of_one_message_step_attempt_and_kind_is_not_merged(other: Entry) -> None:
    found = frame([deltas(1, "a"), other, deltas(3, "c")]).events
    assert [event.first_seq for event in found] == [1, 2, 3]
    assert [event.seq for event in found] == [1, 2, 3]


PIECES = st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=4)
SAYINGS = st.lists(st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(list(DeltaKind)), PIECES), max_size=12)


def log_of(sayings: list[tuple[str, DeltaKind, list[str]]]) -> list[Entry]:
    """Return a whole log in which two parallel steps write a message each."""
    bodies: list[tuple[str, Body]] = [("", RunStarted("run", "conv", "msg")), ("", AttemptStarted())]
    texts = {"a": "", "b": ""}
    bodies += [(message, MessageStarted(message, Role.ASSISTANT, "x/y", "x")) for message in texts]
    for message, kind, pieces in sayings:
        bodies.append((message, Deltas(kind, message, pieces)))
        if kind is DeltaKind.TEXT:
            texts[message] += "".join(pieces)
    for message, text in texts.items():
        bodies += [
            (message, MessageFinished(message, sha256_of(text), FinishReason.STOP, Usage(), 1)),
            (message, NodeFinished(message)),
        ]
    stored = tuple(StoredMessage(message, sha256_of(text)) for message, text in texts.items())
    bodies.append(("", RunCompleted(stored, Usage())))
    entries: list[Entry] = []
    for step, body in bodies:
        entries.append(Entry(entries[-1].seq + 1 if entries else 1, 1, step, 0, body))
    return entries


@given(SAYINGS, st.lists(st.integers(min_value=0, max_value=60), max_size=6))
def test_a_log_cut_anywhere_into_frames_loses_and_repeats_nothing(
    sayings: list[tuple[str, DeltaKind, list[str]]], cuts: list[int]
) -> None:
    entries = log_of(sayings)
    fold = Fold()
    fold.take(entries)
    client = ClientFold()
    after = 0
    for cut in [*sorted(cuts), entries[-1].seq]:
        part = [entry.after(after) for entry in entries if entry.seq > after and entry.first_seq <= cut]
        if part:
            found = frame(part)
            # What a client does: it goes on from the cursor, which is all that it keeps.
            _, after = CURSORS.decode(found.cursor)
            client.take(found.events)
    assert client.stored == {key: message.text for key, message in fold.messages.items()}
    assert client.end == "completed"


@given(SAYINGS)
def test_merged_events_say_what_single_ones_say(sayings: list[tuple[str, DeltaKind, list[str]]]) -> None:
    entries = log_of(sayings)
    merged, single = ClientFold(), ClientFold()
    merged.take(frame(entries).events)
    seq = 0
    while seq < entries[-1].seq:
        rest = [entry.after(seq) for entry in entries if entry.seq > seq]
        one = fitting(rest, 1)
        single.take(frame(one).events)
        seq = one[-1].seq
    assert merged.stored == single.stored
    assert {key: message.reasoning for key, message in merged.messages.items()} == {
        key: message.reasoning for key, message in single.messages.items()
    }


@pytest.mark.parametrize("letter", ["a", "é", "漢", "😀"])
def test_the_largest_frame_is_well_below_what_clients_take(letter: str) -> None:
    longest = letter * MAX_DELTA
    almost_full = deltas(1, longest[50:], longest[50:])
    entries = fitting([almost_full, deltas(3, longest, longest, message="other")], FRAME_SIZE)
    assert entries[-1].seq == 3, "the last delta reaches over"
    assert frame(entries).ByteSize() < MAX_FRAME / 4


def test_a_frame_of_many_small_events_is_well_below_what_clients_take() -> None:
    long_id = "msg_" + "0" * 32
    entries = []
    for number in range(20_000):
        step = f"1.{number % 2 + 1}"
        entries.append(Entry(number + 1, 1, step, TIME_US, Deltas(DeltaKind.TEXT, long_id, ["x"])))
    entries = list(fitting(entries, FRAME_SIZE))
    assert frame(entries).ByteSize() < MAX_FRAME / 4
    start = MessageStarted(long_id, Role.USER, "m" * 100, "p" * 50)
    names = [Entry(number + 1, 1, "1.1", TIME_US, start) for number in range(20_000)]
    assert frame(fitting(names, FRAME_SIZE)).ByteSize() < MAX_FRAME / 2
