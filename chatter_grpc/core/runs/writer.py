"""Where an attempt writes: the nodes of a graph each hold a step of it."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from chatter_grpc.core.budgets import Grant, ModelCall
from chatter_grpc.core.errors import ChatterError, RunInterrupted
from chatter_grpc.core.ids import MESSAGE, new_id
from chatter_grpc.core.messages import sha256_of
from chatter_grpc.core.models import FinishReason, ModelInfo, Role
from chatter_grpc.core.observation import UNOBSERVED, Observer
from chatter_grpc.core.runs.committer import GroupCommitter
from chatter_grpc.core.runs.events import (
    Batch,
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
from chatter_grpc.core.runs.fold import Fold, FoldedMessage
from chatter_grpc.core.runs.purse import Purse
from chatter_grpc.core.runs.run import LogPosition
from chatter_grpc.core.runs.tail import Tail
from chatter_grpc.core.usage import TOKEN_BYTES, Usage

# Writes events that continue a log at a position, and returns whether the attempt still held the run.
CommitAlone = Callable[[LogPosition, Batch | None], Awaitable[bool]]

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
    """One attempt's hand on its run's log, with what the run's end has to know of it.

    ``before`` is what the attempts before wrote: the messages of the steps that they finished are the run's, and what
    they took is, too; what they never reported is reported here, as an estimate. ``refusal`` is why nothing more may
    begin, ``None`` where it may. ``leaving`` says that another attempt is to go on with what this one breaks off. What
    model calls take is paid for from the ``purse``, where the run has one. ``checkpointed`` says that there may be
    checkpoints, which the run's end deletes.
    """

    def __init__(
        self,
        tail: Tail,
        committer: GroupCommitter,
        observer: Observer = UNOBSERVED,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        before: Fold | None = None,
        purse: Purse | None = None,
    ) -> None:
        self._tail = tail
        self._committer = committer
        self.observer = observer
        self.max_message_bytes = max_message_bytes
        self._steps = 0
        self.usage = Usage()
        # In the order in which they were begun, as every fold has them: parallel branches may end in another.
        self._messages: dict[str, FinishedMessage | None] = {}
        self.refusal: ChatterError | None = None
        self.leaving = False
        self.checkpointed = False
        self.purse = purse
        if before is not None:
            self._carry_over(before)

    def _carry_over(self, before: Fold) -> None:
        self.usage = before.usage
        for message in before.finished_messages:
            self._messages[message.started.message_id] = finished_message(message)
        if self.purse is not None:
            for message_id, usage in before.reported.items():
                self.purse.settle(message_id, usage)
        for lost in before.lost_calls():
            self.report(lost.message_id, lost.model, lost.usage)

    def check_open(self) -> None:
        """Raise where nothing more may begin: ``refusal``, or ``RunInterrupted`` where the run is lost."""
        if self._tail.lapse():
            raise RunInterrupted(run_id=self._tail.run_id)
        if self.refusal is not None:
            raise self.refusal

    def open_step(self, node_id: str, node_type: str) -> "StepWriter":
        """Begin one execution of a node; raises as ``check_open``."""
        self.check_open()
        self._steps += 1
        step = StepWriter(self, f"{self._tail.attempt}.{self._steps}", node_id)
        self.append(step.id, NodeStarted(node_id, node_type))
        return step

    @property
    def messages(self) -> list[FinishedMessage]:
        """The messages finished so far, in the order in which they were begun."""
        return [message for message in self._messages.values() if message is not None]

    def begin(self, message_id: str) -> None:
        """Give a message its place among the others."""
        self._messages[message_id] = None

    def keep(self, message: FinishedMessage) -> None:
        """Have a message that was begun stored at the run's end."""
        self._messages[message.id] = message

    def stored(self) -> tuple[StoredMessage, ...]:
        """Return the messages finished so far as the last event names them."""
        return tuple(StoredMessage(message.id, message.text_sha256) for message in self.messages)

    def report(self, message_id: str, model: str, usage: Usage, step_id: str = "") -> None:
        """Add what one model call took to the run's usage and to its log."""
        self.usage += usage
        self.observer.tokens_used(model, usage)
        self.append(step_id, UsageReported(message_id, model, usage))
        if self.purse is not None:
            self.purse.settle(message_id, usage)

    def append(self, step_id: str, body: Body) -> None:
        """Add an event that is not a delta; an empty ``step_id`` is outside the graph."""
        self._tail.append(step_id, body)
        if not self._tail.dirty:
            self._committer.note(self._tail)

    async def commit_alone(self, write: CommitAlone, step: "StepWriter | None" = None) -> bool:
        """Commit all events up to now in a transaction of the caller's, with the end of ``step`` where one is given.

        ``write`` is given where the log ends before them, and the events, ``None`` where there are none. It returns
        whether this attempt still held the run; where it did not, or raises, the run is lost here, and so it is where
        this returns ``False``.
        """
        tail = self._tail

        async def committed(batch: Batch | None) -> bool:
            return await write(LogPosition(tail.attempt, tail.committed_seq), batch)

        return await self._committer.commit_alone(tail, _nothing if step is None else step.finish, committed)

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

    def start_message(self, model: str, provider: str, call: ModelCall | None = None) -> "MessageWriter":
        """Begin a message of a model; its first event is written with its first piece, and says what ``call`` takes.

        Raises as ``RunWriter.check_open``: who goes on after it calls a model.
        """
        self._run.check_open()
        return MessageWriter(self._run, self.id, model, provider, call)

    async def reserve(self, call: ModelCall) -> Grant | None:
        """Have the run's budget pay for a call, ``None`` where it has none; raises as ``check_open`` and the purse."""
        if (purse := self._run.purse) is None:
            return None
        grant = await purse.reserve(call)
        try:
            self._run.check_open()
        except ChatterError:
            purse.settle(call.message_id, Usage())
            raise
        return grant

    def check_price(self, info: ModelInfo) -> None:
        """Raise ``BudgetUnpriced`` where the run's budget bounds money, and the model's price is not known."""
        if self._run.purse is not None:
            self._run.purse.check(info)

    @property
    def leaving(self) -> bool:
        """Whether another attempt is to go on with what this one breaks off."""
        return self._run.leaving

    def finish(self) -> None:
        """End the step well."""
        self._run.append(self.id, NodeFinished(self._node_id))

    async def room(self) -> None:
        """Wait while too much is uncommitted."""
        await self._run.room()


class MessageWriter:
    """Writes one message of a model: started, deltas, usage, and finished or discarded."""

    def __init__(self, run: RunWriter, step_id: str, model: str, provider: str, call: ModelCall | None = None) -> None:
        self.id = new_id(MESSAGE)
        self._call = call
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
    def estimated_tokens(self) -> int:
        """An estimate of what the model has written up to now, its reasoning included."""
        return -(-(self._run.max_message_bytes - self._room) // TOKEN_BYTES)

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
        self._run.keep(message)
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

    def release(self) -> None:
        """Note that the call took nothing, as far as is known."""
        if self._run.purse is not None:
            self._run.purse.settle(self.id, Usage())

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
        self._run.begin(self.id)
        call = self._call
        tokens, price = (0, None) if call is None else (call.input_tokens, call.price)
        started = MessageStarted(self.id, Role.ASSISTANT, self._model, self._provider, tokens, price)
        self._run.append(self._step_id, started)

    def _report(self, usage: Usage) -> None:
        self._run.report(self.id, self._model, usage, self._step_id)


def finished_message(message: FoldedMessage) -> FinishedMessage:
    """Return a message that is final as the attempt finished it that wrote it."""
    finished = message.finished
    assert finished is not None
    return FinishedMessage(
        id=finished.message_id,
        text=message.text,
        text_sha256=finished.text_sha256,
        model=message.started.model,
        provider=message.started.provider,
        finish_reason=finished.finish_reason,
        usage=finished.usage,
        latency_ms=finished.latency_ms,
    )


def _nothing() -> None:
    """Add no event."""
