"""The fold: the frames of a run's stream, in order, become the messages that are stored.

A delta appends its text to the message that it names. ``message_finished`` makes a message final, and its SHA-256 is
checked. ``message_discarded`` drops a message. ``attempt_started`` drops every message of a step that has had no
``node_finished``. After the last event only finished messages remain, and they are exactly those that it names. A
snapshot begins all of it anew.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from hashlib import sha256
from typing import Any, Protocol

from chatter_client._gen.chatter.v1 import content_pb2, run_event_pb2
from chatter_client.errors import IntegrityError


class Frame(Protocol):
    """A response of any RPC that reads a run: they differ in name alone."""

    @property
    def events(self) -> Iterable[run_event_pb2.RunEvent]:
        """Events that gathered since the frame before."""
        ...

    @property
    def control(self) -> run_event_pb2.StreamControl:
        """What the stream says of itself."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedMessage:
    """A message as far as the events tell; ``finished`` is its last event, ``None`` while it is being written.

    A text is kept in pieces, as ``joined`` makes them.
    """

    id: str
    step_id: str
    started: run_event_pb2.MessageStarted
    finished: run_event_pb2.MessageFinished | None = None
    pieces: tuple[str, ...] = ()
    reasoning_pieces: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The text up to now."""
        return "".join(self.pieces)

    @property
    def reasoning(self) -> str:
        """The reasoning up to now; it is no part of the text, and is not stored."""
        return "".join(self.reasoning_pieces)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """What the frames up to now amount to: a value that does not change. ``Fold()`` is that of none.

    ``messages`` are by their ids, in the order in which they began; ``end`` is the run's last event, and ``usage``
    then the usage of the whole run. ``seq`` and ``attempt`` are those of the last event. A fold that begins within the
    log (``partial``) knows nothing of the messages that began before it, and passes over them. ``snapshot`` is the
    number that ``seq`` jumps to at the end of a snapshot, 0 where there is none.
    """

    partial: bool = False
    run_id: str = ""
    conversation_id: str = ""
    user_message_id: str = ""
    messages: Mapping[str, FoldedMessage] = field(default_factory=dict)
    finished_steps: frozenset[str] = frozenset()
    usage: content_pb2.Usage = field(default_factory=content_pb2.Usage)
    end: run_event_pb2.RunEvent | None = None
    seq: int = 0
    attempt: int = 0
    snapshot: int = 0

    @property
    def text(self) -> str:
        """The texts of all messages up to now."""
        return "".join(message.text for message in self.messages.values())


def fold(before: Fold, frame: Frame) -> Fold:
    """Return what the frames before and this one amount to.

    Raises ``IntegrityError`` where an event is missing or comes twice, a text does not have its hash, or the messages
    are not those that the run stored. Kinds of events that are not known yet have no effect.
    """
    if frame.control.WhichOneof("control") == "snapshot":
        before = Fold(snapshot=frame.control.snapshot.seq)
    return reduce(fold_event, frame.events, before)


def fold_event(before: Fold, event: run_event_pb2.RunEvent) -> Fold:
    """Return what the events before and this one amount to; raises as ``fold`` does."""
    check_number(before, event)
    return replace(before, seq=event.seq, attempt=event.attempt, **_changes(before, event))


def _changes(before: Fold, event: run_event_pb2.RunEvent) -> dict[str, Any]:
    match event.WhichOneof("event"):
        case "run_started":
            run = event.run_started
            return {name: getattr(run, name) for name in ("run_id", "conversation_id", "user_message_id")}
        case "attempt_started":
            return {"messages": _kept(before, lambda message: message.step_id in before.finished_steps)}
        case "node_finished":
            return {"finished_steps": before.finished_steps | {event.step_id}}
        case "message_started":
            started = event.message_started
            message = FoldedMessage(id=started.message_id, step_id=event.step_id, started=started)
            return {"messages": {**before.messages, message.id: message}}
        case "text_delta" | "reasoning_delta" | "message_finished" | "message_discarded" as kind:
            return _change(before, kind, event)
        case "completed" | "failed" | "cancelled" as kind:
            return _end(before, kind, event)
    return {}


def check_number(before: Fold, event: run_event_pb2.RunEvent) -> None:
    """Raise ``IntegrityError`` where an event does not follow those before it."""
    if before.end is not None:
        raise IntegrityError(f"event {event.seq} comes after the run's last event")
    if before.partial and before.seq == 0:
        return
    goes_on = event.first_seq == before.seq + 1 and event.attempt == max(before.attempt, 1)
    # What the attempt before had not committed is written anew, under its numbers or the next.
    anew = event.attempt > before.attempt and event.first_seq <= before.seq + 1
    # After a snapshot, the log's own numbers hold again.
    behind_snapshot = 0 < before.seq <= before.snapshot == event.first_seq - 1 and event.attempt >= before.attempt
    if not (goes_on or anew or behind_snapshot) or event.seq < event.first_seq:
        here, there = f"{before.seq} of attempt {before.attempt}", f"{event.first_seq} of attempt {event.attempt}"
        raise IntegrityError(f"event {there} does not follow event {here}")


def joined(pieces: tuple[str, ...], text: str) -> tuple[str, ...]:
    """Return pieces with one more behind them, in such sizes that a long text is not copied with every piece.

    Each piece is longer than the one after it, so that there are few; a character moves into another piece only where
    that is at least twice as long.
    """
    while pieces and len(pieces[-1]) <= len(text):
        text, pieces = pieces[-1] + text, pieces[:-1]
    return (*pieces, text)


def _change(before: Fold, kind: str, event: run_event_pb2.RunEvent) -> dict[str, Any]:
    message_id: str = getattr(event, kind).message_id
    message = before.messages.get(message_id)
    if message is None:
        if before.partial:
            return {}
        raise IntegrityError(f"{kind} names {message_id}, which has not begun")
    if kind == "message_discarded":
        return {"messages": _kept(before, lambda other: other.id != message_id)}
    if kind == "text_delta":
        message = replace(message, pieces=joined(message.pieces, event.text_delta.text))
    elif kind == "reasoning_delta":
        message = replace(message, reasoning_pieces=joined(message.reasoning_pieces, event.reasoning_delta.text))
    else:
        if sha256(message.text.encode()).hexdigest() != event.message_finished.text_sha256:
            raise IntegrityError(f"the text of {message_id} does not have the hash that message_finished names")
        message = replace(message, finished=event.message_finished)
    return {"messages": {**before.messages, message_id: message}}


def _end(before: Fold, kind: str, event: run_event_pb2.RunEvent) -> dict[str, Any]:
    end: run_event_pb2.RunCompleted = getattr(event, kind)
    messages = _kept(before, lambda message: message.finished is not None)
    stored = {message.message_id: message.text_sha256 for message in end.messages}
    found = {name: message.finished.text_sha256 for name, message in messages.items() if message.finished}
    if (found.items() - stored.items()) or (stored != found and not before.partial):
        raise IntegrityError(f"the run stored {sorted(stored)}, and its events gave {sorted(found)}")
    return {"messages": {name: messages[name] for name in stored if name in messages}, "usage": end.usage, "end": event}


def _kept(before: Fold, wanted: Callable[[FoldedMessage], bool]) -> dict[str, FoldedMessage]:
    return {name: message for name, message in before.messages.items() if wanted(message)}
