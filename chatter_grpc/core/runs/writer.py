"""Where an attempt writes: the nodes of a graph each hold a step of it."""

import time
from dataclasses import dataclass
from typing import Final

from chatter_grpc.core.ids import MESSAGE, new_id
from chatter_grpc.core.messages import sha256_of
from chatter_grpc.core.models import FinishReason, Role
from chatter_grpc.core.observation import UNOBSERVED, Observer
from chatter_grpc.core.runs.committer import GroupCommitter
from chatter_grpc.core.runs.events import (
    Body,
    DeltaKind,
    MessageDiscarded,
    MessageFinished,
    MessageStarted,
    NodeFinished,
    NodeStarted,
    StoredMessage,
    UsageReported,
)
from chatter_grpc.core.runs.tail import Tail
from chatter_grpc.core.usage import Usage

# A longer delta is written as several, so that a frame stays well below the 4 MiB that clients take by default.
MAX_DELTA: Final = 64 * 1024
# What one message holds, as UTF-8, its reasoning included; with it, a message fits those 4 MiB too.
MAX_MESSAGE_BYTES: Final = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedMessage:
    """A message as an attempt finished it, to be stored when its run ends."""

    id: str
    text: str
    text_sha256: str
    model: str
    provider: str
    finish_reason: FinishReason
    usage: Usage
    latency_ms: int


class RunWriter:
    """One attempt's hand on its run's log, with what the run's end has to know of it."""

    def __init__(
        self,
        tail: Tail,
        committer: GroupCommitter,
        observer: Observer = UNOBSERVED,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        self._tail = tail
        self._committer = committer
        self.observer = observer
        self.max_message_bytes = max_message_bytes
        self._steps = 0
        self.usage = Usage()
        self.messages: list[FinishedMessage] = []

    def open_step(self, node_id: str, node_type: str) -> "StepWriter":
        """Begin one execution of a node."""
        self._steps += 1
        step = StepWriter(self, f"{self._tail.attempt}.{self._steps}", node_id)
        self.append(step.id, NodeStarted(node_id, node_type))
        return step

    def stored(self) -> tuple[StoredMessage, ...]:
        """Return the messages finished so far as the last event names them."""
        return tuple(StoredMessage(message.id, message.text_sha256) for message in self.messages)

    def append(self, step_id: str, body: Body) -> None:
        """Add an event that is not a delta; an empty ``step_id`` is outside the graph."""
        self._tail.append(step_id, body)
        if not self._tail.dirty:
            self._committer.note(self._tail)

    def append_delta(self, step_id: str, kind: DeltaKind, message_id: str, text: str) -> None:
        """Add a delta."""
        if len(text) > MAX_DELTA:
            for start in range(0, len(text), MAX_DELTA):
                self.append_delta(step_id, kind, message_id, text[start : start + MAX_DELTA])
            return
        self._tail.append_delta(step_id, kind, message_id, text)
        if not self._tail.dirty:
            self._committer.note(self._tail)

    async def room(self) -> None:
        """Wait while too much is uncommitted; whoever reads a provider calls this between reads."""
        if self._committer.is_behind(self._tail):
            await self._committer.room(self._tail)


class StepWriter:
    """What one execution of one node writes."""

    def __init__(self, run: RunWriter, step_id: str, node_id: str) -> None:
        self.id = step_id
        self.observer = run.observer
        self._run = run
        self._node_id = node_id

    def start_message(self, model: str, provider: str) -> "MessageWriter":
        """Begin a message of a model; its first event is written with its first piece."""
        return MessageWriter(self._run, self.id, model, provider)

    def finish(self) -> None:
        """End the step well."""
        self._run.append(self.id, NodeFinished(self._node_id))

    async def room(self) -> None:
        """Wait while too much is uncommitted."""
        await self._run.room()


class MessageWriter:
    """Writes one message of a model: started, deltas, usage, and finished or discarded."""

    def __init__(self, run: RunWriter, step_id: str, model: str, provider: str) -> None:
        self.id = new_id(MESSAGE)
        self._run = run
        self._step_id = step_id
        self._model = model
        self._provider = provider
        self._pieces: list[str] = []
        self._room = run.max_message_bytes
        self._called_at = time.monotonic()
        self.started = False

    @property
    def full(self) -> bool:
        """Whether there was more than a message may hold; what more is added to it is dropped, too."""
        return self._room < 0

    @property
    def written(self) -> str:
        """The text up to now."""
        return "".join(self._pieces)

    def add_text(self, text: str) -> None:
        """Add a piece of text, as much of it as the message has room for."""
        text = self._fitting(text)
        if text:
            self._pieces.append(text)
            self._run.append_delta(self._step_id, DeltaKind.TEXT, self.id, text)

    def add_reasoning(self, text: str) -> None:
        """Add a piece of reasoning, as much as there is room for; it is streamed and not stored."""
        text = self._fitting(text)
        if text:
            self._run.append_delta(self._step_id, DeltaKind.REASONING, self.id, text)

    def finish(self, reason: FinishReason, usage: Usage) -> FinishedMessage:
        """Make the message final, and its usage part of the run's."""
        if not self.started:
            self._start()
        self._report(usage)
        text = self.written
        message = FinishedMessage(
            id=self.id,
            text=text,
            text_sha256=sha256_of(text),
            model=self._model,
            provider=self._provider,
            finish_reason=reason,
            usage=usage,
            latency_ms=round((time.monotonic() - self._called_at) * 1000),
        )
        self._run.messages.append(message)
        self._run.append(
            self._step_id,
            MessageFinished(self.id, message.text_sha256, reason, usage, message.latency_ms),
        )
        return message

    def discard(self, usage: Usage) -> None:
        """Take back what was written, if anything was; what it took is part of the run's usage all the same."""
        self._report(usage)
        if self.started:
            self._run.append(self._step_id, MessageDiscarded(self.id))

    def _fitting(self, text: str) -> str:
        """Return the beginning of a piece that there is room for, in whole characters."""
        if not self.started:
            self._start()
        # Whether a text is ASCII it knows itself.
        size = len(text) if text.isascii() else len(text.encode())
        room, self._room = self._room, self._room - size
        return text if size <= room else text.encode()[: max(room, 0)].decode(errors="ignore")

    def _start(self) -> None:
        self.started = True
        self._run.append(self._step_id, MessageStarted(self.id, Role.ASSISTANT, self._model, self._provider))

    def _report(self, usage: Usage) -> None:
        self._run.usage += usage
        self._run.observer.tokens_used(self._model, usage)
        self._run.append(self._step_id, UsageReported(self.id, self._model, usage))
