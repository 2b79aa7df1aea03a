"""A run's record, and the stores that keep runs and their logs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol

from chatter_grpc.core.budgets import Budget
from chatter_grpc.core.conversations import Memory, ModelSettings
from chatter_grpc.core.pages import Page, PageRequest
from chatter_grpc.core.runs.events import Batch, Entry
from chatter_grpc.core.usage import Usage


class RunState(StrEnum):
    """How far a run is."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def active(self) -> bool:
        """Whether more is to come."""
        return self in (RunState.PENDING, RunState.RUNNING)


class WorkflowKind(StrEnum):
    """A workflow that is built in. What is not in the contract is the server's own, and no caller's."""

    PLAIN = "plain"
    HOUSEKEEPING = "housekeeping"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInput:
    """What an attempt needs to begin beside the messages, fixed when the run starts.

    It is kept apart from the run's record, which is read far more often: a system prompt may be very long.
    ``settings`` are resolved (its model is never ``None``). ``before_index`` is the user message's index: memory
    reaches back from there. ``response_schema`` is the JSON Schema that the answer has to keep, empty for none.
    ``takes_images`` says whether the model is shown remembered images.
    """

    user_message_id: str
    before_index: int
    settings: ModelSettings
    memory: Memory
    response_schema: str = ""
    takes_images: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One piece of work that takes time. Exactly one of ``kind`` and ``workflow_id`` is set.

    A ``regeneration`` answers a message that a run before was to answer; what it stores replaces what that one stored.
    ``budget`` is what holds for it, the server's limits counted in; a run of before there were budgets has none.
    """

    id: str
    owner_id: str
    actor_id: str
    conversation_id: str
    kind: WorkflowKind | None
    workflow_id: str | None
    state: RunState
    created_at: datetime
    attempt: int = 1
    last_seq: int = 0
    usage: Usage = field(default_factory=Usage)
    failure_reason: str = ""
    failure_message: str = ""
    cancel_requested_at: datetime | None = None
    finished_at: datetime | None = None
    user_message_id: str = ""
    regeneration: bool = False
    budget: Budget = field(default_factory=Budget)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnd:
    """How an attempt ends its run; ``failure_reason`` and ``failure_message`` are set on a failure alone."""

    state: RunState
    usage: Usage
    finished_at: datetime
    failure_reason: str = ""
    failure_message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs to list; ``None`` and empty mean all."""

    conversation_id: str = ""
    state: RunState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A run that was taken over, with the attempt that is to go on with it.

    ``first`` is that attempt's first event, which is committed. ``losses`` counts the attempts before it that were lost
    one after the other without a finished step. ``elapsed`` is in seconds, by the database's clock, since the first
    attempt began.
    """

    run: Run
    first: Batch
    losses: int
    elapsed: float


class LogPosition(NamedTuple):
    """A place in a run's log: just after event ``seq`` as ``attempt`` wrote it. (0, 0) is the beginning."""

    attempt: int = 0
    seq: int = 0


class RunStore(Protocol):
    """Keeps runs and reads their logs, inside a transaction."""

    async def add(
        self,
        run: Run,
        run_input: RunInput,
        first: Batch,
        *,
        process_id: str,
        lease_seconds: float,
        most: int | None = None,
    ) -> None:
        """Insert a run with its input, its first events and a lease for ``process_id`` by the database's clock.

        A pending run is nobody's: it is not leased. ``most`` is how many runs like it, pending or at work, its owner
        may have with it; where it is given, others that add or claim one of the owner's wait until the transaction
        ends. Raises ``ConversationBusy`` with the other run's id where the conversation has an active run, and
        ``TooManyPendingRuns`` or ``TooManyRuns``: here, where the transaction goes on, or at its end, and it is not
        committed.
        """
        ...

    async def any_pending(self) -> bool:
        """Whether a run is pending, whoever owns it."""
        ...

    async def claim(self, process_id: str, lease_seconds: float, at_work: int, at: datetime) -> Run | None:
        """Have the first attempt at a pending run start, leased to ``process_id``; ``None`` where none can.

        Its owner has fewer than ``at_work`` runs at work; of several owners it is the one with the fewest, and of those
        the one whose turn was longest ago. Of an owner's runs it is the oldest. Two processes never claim the same run,
        nor one more of an owner's than may be at work.
        """
        ...

    async def get(self, owner_id: str, run_id: str) -> Run:
        """Return an owner's run; raises ``RunNotFound``."""
        ...

    async def input(self, owner_id: str, run_id: str) -> RunInput:
        """Return what an attempt at an owner's run begins with; raises ``RunNotFound``."""
        ...

    async def list(self, owner_id: str, wanted: RunFilter, page: PageRequest) -> Page[Run]:
        """Return one page of an owner's runs, the latest first."""
        ...

    async def active(self, owner_ids: Collection[str], conversation_id: str = "") -> tuple[Run, ...]:
        """Return the owners' active runs, pending or at work, at most 10,000; of one conversation where it is given."""
        ...

    async def request_cancel(self, run_ids: Collection[str], at: datetime) -> None:
        """Record the intent to cancel runs that are at work; the first intent's time stays. Pending ones end here."""
        ...

    async def cancel_all(self, owner_ids: Collection[str], at: datetime) -> tuple[str, ...]:
        """Do so with all active runs of these owners, and return their ids; those asked for before are left out."""
        ...

    async def cancel_requested(self, process_id: str) -> tuple[str, ...]:
        """Return the ids of the runs at work in a process that have a cancel intent."""
        ...

    async def append(self, run_id: str, after: LogPosition, batch: Batch | None, *, progress: bool) -> bool:
        """Append an attempt's next events, if there are any, and with ``progress`` note that it has finished a step.

        ``after`` names the attempt and the log's last number before. Returns ``False``, with nothing written, where the
        attempt is not the current one of a run at work, or the log has another last number.
        """
        ...

    async def finish(self, end: RunEnd, last: Batch) -> bool:
        """Append an attempt's last events and end its run, if the attempt still is the current one of an active run.

        Returns ``False``, with nothing written, where it is not, or where the events do not continue the run's log.
        """
        ...

    async def read_log(self, run_id: str, after: LogPosition, max_bytes: int) -> Sequence[Entry]:
        """Return committed entries after a position, in log order; at least one batch if there is one, up to a size.

        After a position lie the events of its attempt with a greater number, and all events of later attempts: a
        position ahead of what its attempt ever committed goes on with the next attempt's first event. A batch that
        reaches over the position is cut, so that its first entry begins just after it.
        """
        ...

    async def renew_leases(self, process_id: str, attempts: Mapping[str, int], lease_seconds: float) -> Collection[str]:
        """Extend leases by the database's clock: ``attempts`` are the runs' ids with the attempts that hold them.

        Returns the ids of those that this process does hold, at work and with these attempts; the others are lost.
        """
        ...

    async def any_lost(self, *, released: bool = False) -> bool:
        """Whether there is a run that ``take_lost`` would take; with ``released``, one that was given back."""
        ...

    async def take_lost(self, process_id: str, lease_seconds: float, limit: int) -> tuple[Taken, ...]:
        """Take over runs at work that were given back or whose lease has expired, and lease them to ``process_id``.

        Each has its attempt raised by one and that attempt's first event in its log; what an attempt before writes
        afterwards is fenced off. A loss is counted where the attempt before neither gave the run back nor committed a
        finished step; one that did begins the count anew. Two processes never take the same run, and runs that another
        transaction holds at the moment are passed over.
        """
        ...

    async def take(self, run_id: str, attempt: int, process_id: str, lease_seconds: float) -> Taken | None:
        """Take over a run at work that is to be cancelled, whoever holds it; ``None`` where ``attempt`` is not its."""
        ...

    async def release(self, run_id: str, attempt: int, last: Batch | None, last_seq: int) -> bool:
        """Append an attempt's ``last`` events, if there are any, and give its run back so that others take it at once.

        ``last_seq`` is the log's last number without them. Returns ``False``, with nothing written, where the attempt
        is not the current one of a run at work, or the log has another last number.
        """
        ...

    async def expire_leases(self) -> int:
        """End the leases of all runs at work and return their number; only for the sole user of a database."""
        ...


class LogCommitter(Protocol):
    """Writes log batches below the ORM: one transaction for all runs of a process, one fence per run."""

    async def commit(self, batches: Sequence[Batch]) -> Collection[str]:
        """Append the batches of distinct runs, and return the ids of the runs whose attempt is no longer current.

        Those are not written; the others are, durably, when this returns. Raises ``StorageUnavailable`` where it is
        not known whether they are: an equal batch may then be sent again, and is written once.
        """
        ...

    async def close(self) -> None:
        """Release the connection."""
        ...
