"""Frames: how a chunk of a run's log looks on the wire."""

from collections.abc import Iterable, Iterator
from typing import Final, Protocol, TypeVar

from chatter_grpc._gen.chatter.v1 import content_pb2, error_reason_pb2, run_event_pb2
from chatter_grpc.core.models import FinishReason, Role
from chatter_grpc.core.runs import events
from chatter_grpc.core.runs.events import DeltaKind, Deltas, Entry
from chatter_grpc.core.runs.reader import Chunk, Control
from chatter_grpc.core.usage import Usage
from chatter_grpc.rpc.cursors import RunCursors

ROLES: Final = {
    Role.USER: content_pb2.ROLE_USER,
    Role.ASSISTANT: content_pb2.ROLE_ASSISTANT,
}
FINISH_REASONS: Final = {
    FinishReason.STOP: content_pb2.FINISH_REASON_STOP,
    FinishReason.LENGTH: content_pb2.FINISH_REASON_LENGTH,
    FinishReason.CONTENT_FILTER: content_pb2.FINISH_REASON_CONTENT_FILTER,
    FinishReason.CANCELLED: content_pb2.FINISH_REASON_CANCELLED,
}
CONTROLS: Final = {
    Control.HEARTBEAT: run_event_pb2.StreamControl(heartbeat=run_event_pb2.Heartbeat()),
    Control.CAUGHT_UP: run_event_pb2.StreamControl(caught_up=run_event_pb2.CaughtUp()),
    Control.HAND_OFF: run_event_pb2.StreamControl(hand_off=run_event_pb2.HandOff()),
}


class Events(Protocol):
    """A message's repeated field of events."""

    def add(self) -> run_event_pb2.RunEvent:
        """Add an empty event and return it."""
        ...


class Frame(Protocol):
    """The response types of all RPCs that stream a run: they differ in name alone."""

    def __init__(
        self,
        *,
        cursor: str,
        control: run_event_pb2.StreamControl | None,
    ) -> None: ...

    @property
    def events(self) -> Events:
        """The events, to be added to in place."""
        ...


AnyFrame = TypeVar("AnyFrame", bound=Frame)


def frame_of(chunk: Chunk, cursors: RunCursors, response: type[AnyFrame]) -> AnyFrame:
    """Return the frame of a chunk, with adjacent deltas of one message and step merged into one event."""
    frame = response(
        cursor=cursors.encode(chunk.position.attempt, chunk.position.seq),
        control=_control(chunk),
    )
    # Filled in place: an event that is made first and then copied costs twice as much.
    for entry, last_seq in _merged(chunk.entries):
        _fill(frame.events.add(), entry, last_seq)
    return frame


def usage_message(usage: Usage) -> content_pb2.Usage:
    """Return a usage as the contract has it."""
    return content_pb2.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost_micros=usage.cost_micros,
        estimated=usage.estimated,
    )


def _control(chunk: Chunk) -> run_event_pb2.StreamControl | None:
    if chunk.control is None:
        return None
    if chunk.control is Control.SNAPSHOT:
        return run_event_pb2.StreamControl(snapshot=run_event_pb2.Snapshot(seq=chunk.snapshot))
    return CONTROLS[chunk.control]


def _merged(entries: Iterable[Entry]) -> Iterator[tuple[Entry, int]]:
    """Yield each entry with its last number; deltas that continue the entry before them join it."""
    held: Entry | None = None
    pieces: list[str] = []
    for entry in entries:
        body = entry.body
        if held is not None and isinstance(body, Deltas) and entry.continues(held):
            pieces.extend(body.pieces)
            continue
        if held is not None:
            yield _joined(held, pieces)
            held = None
        if isinstance(body, Deltas):
            held, pieces = entry, list(body.pieces)
        else:
            yield entry, entry.first_seq
    if held is not None:
        yield _joined(held, pieces)


def _joined(held: Entry, pieces: list[str]) -> tuple[Entry, int]:
    body = held.body
    assert isinstance(body, Deltas)
    last_seq = held.first_seq + len(pieces) - 1
    if len(pieces) == len(body.pieces):
        return held, last_seq
    return held._replace(body=body._replace(pieces=pieces)), last_seq


def _fill(event: run_event_pb2.RunEvent, entry: Entry, last_seq: int) -> None:
    event.first_seq, event.seq = entry.first_seq, last_seq
    event.attempt, event.step_id = entry.attempt, entry.step_id
    time = event.time
    time.seconds, micros = divmod(entry.time_us, 1_000_000)
    time.nanos = micros * 1000
    _set_body(event, entry.body)


def _set_body(event: run_event_pb2.RunEvent, body: events.Body) -> None:
    match body:
        case Deltas(DeltaKind.TEXT, message_id, pieces):
            delta = event.text_delta
            delta.message_id, delta.text = message_id, "".join(pieces)
        case Deltas(_, message_id, pieces):
            event.reasoning_delta.message_id = message_id
            event.reasoning_delta.text = "".join(pieces)
        case events.RunStarted(run_id, conversation_id, user_message_id):
            event.run_started.run_id = run_id
            event.run_started.conversation_id = conversation_id
            event.run_started.user_message_id = user_message_id
        case events.AttemptStarted():
            event.attempt_started.SetInParent()
        case events.NodeStarted(node_id, node_type):
            event.node_started.node_id = node_id
            event.node_started.node_type = node_type
        case events.NodeFinished(node_id):
            event.node_finished.node_id = node_id
        case events.MessageStarted(message_id, role, model, provider):
            started = event.message_started
            started.message_id, started.role = message_id, ROLES[role]
            started.model, started.provider = model, provider
        case events.UsageReported(message_id, model, usage):
            event.usage.message_id, event.usage.model = message_id, model
            event.usage.usage.CopyFrom(usage_message(usage))
        case events.MessageDiscarded(message_id):
            event.message_discarded.message_id = message_id
        case events.MessageFinished(message_id, text_sha256, reason, usage):
            finished = event.message_finished
            finished.message_id, finished.text_sha256 = message_id, text_sha256
            finished.finish_reason = FINISH_REASONS[reason]
            finished.usage.CopyFrom(usage_message(usage))
        case _:
            _set_end(event, body)


def _set_end(event: run_event_pb2.RunEvent, body: events.Terminal) -> None:
    messages = [
        run_event_pb2.StoredMessage(message_id=message.message_id, text_sha256=message.text_sha256)
        for message in body.messages
    ]
    usage = usage_message(body.usage)
    match body:
        case events.RunCompleted():
            event.completed.CopyFrom(run_event_pb2.RunCompleted(messages=messages, usage=usage))
        case events.RunCancelled():
            event.cancelled.CopyFrom(run_event_pb2.RunCancelled(messages=messages, usage=usage))
        case events.RunFailed(reason, message):
            value = error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}")
            event.failed.CopyFrom(
                run_event_pb2.RunFailed(reason=value, message=message, messages=messages, usage=usage)
            )
