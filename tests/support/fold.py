"""The fold of a run's events as the contract states it for clients, over the events of frames."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from chatter_grpc._gen.chatter.v1.content_pb2 import Usage
from chatter_grpc._gen.chatter.v1.run_event_pb2 import MessageFinished, RunEvent


class StreamBroken(AssertionError):
    """The events of a stream have a gap, a repetition, or a text that does not have its hash."""


@dataclass(slots=True)
class ClientMessage:
    """A message as a client has put it together."""

    step_id: str
    model: str
    provider: str
    text: str = ""
    reasoning: str = ""
    finished: MessageFinished | None = None


@dataclass(slots=True)
class ClientFold:
    """Takes the events of frames in order. It has no part of the server's code, so that the two check each other.

    Numbers are checked for gaps: within an attempt they go on by one; another attempt begins at any number that is
    not after the next one. The events of a snapshot are numbered by themselves, and then once jump to the log's.
    """

    seq: int = 0
    attempt: int = 0
    messages: dict[str, ClientMessage] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    end: str = ""
    last: RunEvent | None = None
    kinds: list[str] = field(default_factory=list)
    snapshots: int = 0
    _jump_after: int = 0
    _finished_steps: set[str] = field(default_factory=set)

    def take_frame(self, frame: Any) -> None:
        """Apply a frame, or a page."""
        if frame.control.HasField("snapshot"):
            self.forget(frame.control.snapshot.seq)
        self.take(frame.events)

    def forget(self, seq: int) -> None:
        """Begin anew with a snapshot of what was written up to ``seq``."""
        if self.end:
            raise StreamBroken(f"a snapshot comes after the end, {self.end}")
        self.seq, self.attempt, self.last = 0, 0, None
        self.messages.clear()
        self.kinds.clear()
        self._finished_steps.clear()
        self.snapshots += 1
        self._jump_after = seq

    def take(self, events: Iterable[RunEvent]) -> None:
        """Apply the events of a frame."""
        for event in events:
            self._check_number(event)
            self._apply(event)
            self.seq, self.attempt, self.last = event.seq, event.attempt, event

    @property
    def stored(self) -> dict[str, str]:
        """The texts of the finished messages by their ids, each checked against its hash."""
        found = {}
        for message_id, message in self.messages.items():
            if message.finished is None:
                continue
            if hashlib.sha256(message.text.encode()).hexdigest() != message.finished.text_sha256:
                raise StreamBroken(f"the text of {message_id} does not have its hash")
            found[message_id] = message.text
        return found

    def _check_number(self, event: RunEvent) -> None:
        if self.end:
            raise StreamBroken(f"event {event.seq} comes after the end")
        goes_on = event.first_seq == self.seq + 1 and event.attempt == max(self.attempt, 1)
        anew = event.attempt > self.attempt and event.first_seq <= self.seq + 1
        if not (goes_on or anew) and self.seq and event.first_seq == self._jump_after + 1:
            if self.seq >= self._jump_after or event.attempt < self.attempt:
                raise StreamBroken(f"a snapshot up to {self._jump_after} has the event {self.seq}")
            self._jump_after, goes_on = 0, True
        if not (goes_on or anew) or event.seq < event.first_seq:
            raise StreamBroken(f"event {event.attempt}/{event.first_seq} comes after {self.attempt}/{self.seq}")

    def _apply(self, event: RunEvent) -> None:
        kind = event.WhichOneof("event")
        assert kind is not None
        self.kinds.append(kind)
        if kind == "text_delta":
            self.messages[event.text_delta.message_id].text += event.text_delta.text
        elif kind == "reasoning_delta":
            self.messages[event.reasoning_delta.message_id].reasoning += event.reasoning_delta.text
        elif kind == "message_started":
            started = event.message_started
            self.messages[started.message_id] = ClientMessage(event.step_id, started.model, started.provider)
        elif kind == "message_finished":
            self.messages[event.message_finished.message_id].finished = event.message_finished
        elif kind == "message_discarded":
            del self.messages[event.message_discarded.message_id]
        elif kind == "node_finished":
            self._finished_steps.add(event.step_id)
        elif kind == "attempt_started":
            self._keep(self._finished_steps)
        elif kind in {"completed", "failed", "cancelled"}:
            self._end(event, kind)

    def _keep(self, steps: set[str]) -> None:
        self.messages = {key: message for key, message in self.messages.items() if message.step_id in steps}

    def _end(self, event: RunEvent, kind: str) -> None:
        self.end = kind
        body = getattr(event, kind)
        self.usage = body.usage
        self.messages = {key: message for key, message in self.messages.items() if message.finished is not None}
        named = [(message.message_id, message.text_sha256) for message in body.messages]
        if named != [(key, message.finished.text_sha256) for key, message in self.messages.items() if message.finished]:
            raise StreamBroken(f"the last event names {named}, and the events gave {sorted(self.messages)}")
