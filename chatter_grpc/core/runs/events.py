"""The events of a run's log."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from chatter_grpc.core.models import FinishReason, Price, Role
from chatter_grpc.core.usage import Usage


class DeltaKind(StrEnum):
    """What a delta adds to."""

    TEXT = "text"
    REASONING = "reasoning"


class Deltas(NamedTuple):
    """Adjacent deltas of one kind, message and step. Each piece is an event with a number of its own.

    A tuple, as the entry is, because two of each are made for every frame, and a tuple costs a third of a dataclass.
    """

    kind: DeltaKind
    message_id: str
    pieces: Sequence[str]


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The run's first event."""

    run_id: str
    conversation_id: str
    user_message_id: str


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """From here on another attempt writes: what unfinished steps wrote before is void."""


@dataclass(frozen=True, slots=True)
class NodeStarted:
    """A node of the graph begins."""

    node_id: str
    node_type: str


@dataclass(frozen=True, slots=True)
class NodeFinished:
    """A node of the graph ended well; what it wrote is never taken back."""

    node_id: str


@dataclass(frozen=True, slots=True)
class MessageStarted:
    """A model begins to write.

    ``input_tokens`` is an estimate of what it was sent, and ``price`` what it costs: what a call has taken whose
    attempt is lost follows from these and its deltas. No client is told.
    """

    message_id: str
    role: Role
    model: str
    provider: str
    input_tokens: int = 0
    price: Price | None = None


@dataclass(frozen=True, slots=True)
class UsageReported:
    """What one model call took."""

    message_id: str
    model: str
    usage: Usage


@dataclass(frozen=True, slots=True)
class MessageDiscarded:
    """A message that was begun is taken back."""

    message_id: str


@dataclass(frozen=True, slots=True)
class MessageFinished:
    """A message is final. ``latency_ms`` is from the model call to the end of the answer."""

    message_id: str
    text_sha256: str
    finish_reason: FinishReason
    usage: Usage
    latency_ms: int


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message that the run stored, with the SHA-256 of its text."""

    message_id: str
    text_sha256: str


@dataclass(frozen=True, slots=True)
class RunCompleted:
    """The last event of a run that came to its end."""

    messages: tuple[StoredMessage, ...]
    usage: Usage


@dataclass(frozen=True, slots=True)
class RunFailed:
    """The last event of a run that failed; ``reason`` is one of the contract's catalogue."""

    reason: str
    message: str
    messages: tuple[StoredMessage, ...]
    usage: Usage


@dataclass(frozen=True, slots=True)
class RunCancelled:
    """The last event of a run that was cancelled."""

    messages: tuple[StoredMessage, ...]
    usage: Usage


Terminal = RunCompleted | RunFailed | RunCancelled
Body = (
    Deltas
    | RunStarted
    | AttemptStarted
    | NodeStarted
    | NodeFinished
    | MessageStarted
    | UsageReported
    | MessageDiscarded
    | MessageFinished
    | Terminal
)

# Committed before anyone sees them (DESIGN: barriers); what follows one waits with it.
BARRIERS = (MessageFinished, NodeFinished, RunCompleted, RunFailed, RunCancelled)
TERMINAL = (RunCompleted, RunFailed, RunCancelled)


class Entry(NamedTuple):
    """One place in the log: an event, or adjacent deltas that take a number each.

    ``time_us`` is in microseconds since the epoch, by the writer's clock. ``step_id`` is empty outside the graph.
    """

    first_seq: int
    attempt: int
    step_id: str
    time_us: int
    body: Body

    @property
    def seq(self) -> int:
        """The number of the entry's last event."""
        if isinstance(self.body, Deltas):
            return self.first_seq + len(self.body.pieces) - 1
        return self.first_seq

    def after(self, seq: int) -> "Entry":
        """Return what of the entry lies after ``seq``, which is before its last event."""
        if seq < self.first_seq or not isinstance(self.body, Deltas):
            return self
        rest = self.body.pieces[seq - self.first_seq + 1 :]
        body = Deltas(self.body.kind, self.body.message_id, rest)
        return Entry(seq + 1, self.attempt, self.step_id, self.time_us, body)

    def continues(self, before: "Entry") -> bool:
        """Whether this entry's deltas go on where those of the entry ``before`` end, so that they make one event."""
        body, earlier = self.body, before.body
        return (
            isinstance(body, Deltas)
            and isinstance(earlier, Deltas)
            and earlier.message_id == body.message_id
            and earlier.kind is body.kind
            and before.step_id == self.step_id
            and before.attempt == self.attempt
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive entries of one run, written by one attempt and committed together."""

    run_id: str
    attempt: int
    entries: tuple[Entry, ...]

    @property
    def first_seq(self) -> int:
        """The number of the batch's first event."""
        return self.entries[0].first_seq

    @property
    def last_seq(self) -> int:
        """The number of the batch's last event."""
        return self.entries[-1].seq
