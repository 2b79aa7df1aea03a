"""The fold: the events of a run, in order, become the messages that are stored.

A delta appends its text to the message that it names. ``message_finished`` makes a message final, and its SHA-256 is
checked. ``message_discarded`` drops a message. ``attempt_started`` drops every message of a step that has had no
``node_finished``. After the last event only finished messages remain, and they are exactly those that it names.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256

from chatter_client._gen.chatter.v1 import content_pb2, run_event_pb2
from chatter_client.errors import IntegrityError


@dataclass(slots=True, kw_only=True)
class FoldedMessage:
    """A message as far as the events tell; ``finished`` is its last event, ``None`` while it is being written."""

    id: str
    step_id: str
    started: run_event_pb2.MessageStarted
    pieces: list[str] = field(default_factory=list)
    reasoning_pieces: list[str] = field(default_factory=list)
    finished: run_event_pb2.MessageFinished | None = None

    @property
    def text(self) -> str:
        """The text up to now."""
        return "".join(self.pieces)

    @property
    def reasoning(self) -> str:
        """The reasoning up to now; it is no part of the text, and is not stored."""
        return "".join(self.reasoning_pieces)


class Fold:
    """Takes the events of one run in order, and holds what follows from them.

    ``messages`` are by their ids, in the order in which they began; ``end`` is the run's last event, and ``usage``
    then the usage of the whole run. A fold that begins within the log (``partial``) knows nothing of the messages that
    began before it, and passes over them.
    """

    def __init__(self, *, partial: bool = False) -> None:
        self.partial = partial
        self.run_id = ""
        self.conversation_id = ""
        self.user_message_id = ""
        self.messages: dict[str, FoldedMessage] = {}
        self.usage = content_pb2.Usage()
        self.end: run_event_pb2.RunEvent | None = None
        self.seq = 0
        self.attempt = 0
        self._finished_steps: set[str] = set()

    @property
    def text(self) -> str:
        """The texts of all messages up to now."""
        return "".join(message.text for message in self.messages.values())

    def take(self, events: Iterable[run_event_pb2.RunEvent]) -> None:
        """Apply events; raises ``IntegrityError``. Kinds of events that are not known yet have no effect."""
        for event in events:
            self._check_number(event)
            self._apply(event)
            self.seq, self.attempt = event.seq, event.attempt

    def _check_number(self, event: run_event_pb2.RunEvent) -> None:
        if self.end is not None:
            raise IntegrityError(f"event {event.seq} comes after the run's last event")
        if self.partial and self.seq == 0:
            return
        goes_on = event.first_seq == self.seq + 1 and event.attempt == max(self.attempt, 1)
        # What the attempt before had not committed is written anew, under its numbers or the next.
        anew = event.attempt > self.attempt and event.first_seq <= self.seq + 1
        if not (goes_on or anew) or event.seq < event.first_seq:
            here, there = f"{self.seq} of attempt {self.attempt}", f"{event.first_seq} of attempt {event.attempt}"
            raise IntegrityError(f"event {there} does not follow event {here}")

    def _apply(self, event: run_event_pb2.RunEvent) -> None:
        match event.WhichOneof("event"):
            case "run_started":
                started = event.run_started
                self.run_id, self.conversation_id = started.run_id, started.conversation_id
                self.user_message_id = started.user_message_id
            case "attempt_started":
                self._keep(lambda message: message.step_id in self._finished_steps)
            case "node_finished":
                self._finished_steps.add(event.step_id)
            case "message_started":
                message_id = event.message_started.message_id
                self.messages[message_id] = FoldedMessage(
                    id=message_id, step_id=event.step_id, started=event.message_started
                )
            case "text_delta" | "reasoning_delta" | "message_finished" | "message_discarded" as kind:
                self._change(kind, event)
            case "completed" | "failed" | "cancelled":
                self._finish(event)

    def _change(self, kind: str, event: run_event_pb2.RunEvent) -> None:
        message_id: str = getattr(event, kind).message_id
        message = self.messages.get(message_id)
        if message is None:
            if not self.partial:
                raise IntegrityError(f"{kind} names {message_id}, which has not begun")
        elif kind == "text_delta":
            message.pieces.append(event.text_delta.text)
        elif kind == "reasoning_delta":
            message.reasoning_pieces.append(event.reasoning_delta.text)
        elif kind == "message_discarded":
            del self.messages[message_id]
        else:
            if sha256(message.text.encode()).hexdigest() != event.message_finished.text_sha256:
                raise IntegrityError(f"the text of {message_id} does not have the hash that message_finished names")
            message.finished = event.message_finished

    def _finish(self, event: run_event_pb2.RunEvent) -> None:
        end: run_event_pb2.RunCompleted = getattr(event, str(event.WhichOneof("event")))
        self._keep(lambda message: message.finished is not None)
        stored = {message.message_id: message.text_sha256 for message in end.messages}
        found = {name: message.finished.text_sha256 for name, message in self.messages.items() if message.finished}
        if (found.items() - stored.items()) or (stored != found and not self.partial):
            raise IntegrityError(f"the run stored {sorted(stored)}, and its events gave {sorted(found)}")
        self.messages = {name: self.messages[name] for name in stored if name in self.messages}
        self.usage = end.usage
        self.end = event

    def _keep(self, wanted: Callable[[FoldedMessage], bool]) -> None:
        self.messages = {name: message for name, message in self.messages.items() if wanted(message)}
