"""Starting runs: one transaction that stores what a run answers together with the run itself."""

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from chatter_grpc.core.asking import Asking
from chatter_grpc.core.budgets import Budget
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.clock import Clock
from chatter_grpc.core.conversations import ConversationStatus, ModelSettings
from chatter_grpc.core.errors import (
    ChatterError,
    ConversationArchived,
    StorageUnavailable,
    WorkflowNotFound,
)
from chatter_grpc.core.ids import RUN, new_id
from chatter_grpc.core.inquiries import Inquiry
from chatter_grpc.core.messages import Message
from chatter_grpc.core.models import Turn
from chatter_grpc.core.quotas import MessageQuota, count_message
from chatter_grpc.core.requests import RequestKey, made_before
from chatter_grpc.core.runs.ending import release_run
from chatter_grpc.core.runs.events import AttemptStarted, Batch, Body, Entry, RunStarted
from chatter_grpc.core.runs.executor import Work
from chatter_grpc.core.runs.patience import Patience
from chatter_grpc.core.runs.run import Run, RunInput, RunState, WorkflowKind
from chatter_grpc.core.runs.service import Runs
from chatter_grpc.core.runs.supervisor import Supervisor
from chatter_grpc.core.runs.turns import remembered_turns
from chatter_grpc.core.runs.wakeups import PENDING_RUNS, RELEASED_RUNS, WakeUps
from chatter_grpc.core.starts import Asker, Held
from chatter_grpc.core.storage import Storage, Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimits:
    """How many runs one owner may have at once, at work and waiting to be, and an account in a day and a month.

    ``budget`` bounds what any single one may take.
    """

    at_work: int = 10
    pending: int = 1_000
    messages: MessageQuota = field(default_factory=MessageQuota)
    budget: Budget = field(default_factory=Budget)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """How something is to be answered. At most one of ``kind`` and ``workflow_id`` is set; none is plain.

    ``cancel_on_disconnect`` says that the run is to end when the one who started, or watches what was started, goes
    away. A ``detached`` run is begun by whichever process has room for it; any other begins here and at once.
    ``response_schema`` is a JSON Schema that the answer has to keep, empty for none. ``budget`` bounds what the run may
    take, within what the server allows any.
    """

    overrides: ModelSettings
    kind: WorkflowKind | None = None
    workflow_id: str | None = None
    cancel_on_disconnect: bool = False
    detached: bool = False
    response_schema: str = ""
    budget: Budget = field(default_factory=Budget)


class Question(Protocol):
    """The user's message that a run answers: one that is new, or one that was answered before."""

    async def conversation_id(self, tx: Transaction, owner_id: str) -> str:
        """Return where it is asked."""
        ...

    async def ask(self, tx: Transaction, held: Held, run_id: str, now: datetime) -> Message:
        """Return it as it is stored, in a conversation that is held; raises where it cannot be asked there."""
        ...


class Starting:
    """The way on which every run that answers starts."""

    def __init__(
        self,
        storage: Storage,
        supervisor: Supervisor,
        runs: Runs,
        asking: Asking,
        wakeups: WakeUps,
        clock: Clock,
        limits: RunLimits,
    ) -> None:
        self._storage = storage
        self._supervisor = supervisor
        self._runs = runs
        self._asking = asking
        self._wakeups = wakeups
        self._clock = clock
        self._limits = limits

    async def start(self, caller: Caller, start: Start, question: Question, key: RequestKey) -> str:
        """Start a run and return its id, or that of the run that the same request started before.

        Question, run, request id and first events are one transaction, which comes to its end even if the caller goes
        away. Raises ``ServerStopping``, ``WorkflowNotFound``, ``ConversationNotFound``, ``RequestIdReused``,
        ``ConversationArchived``, ``AccountDisabled``, ``ModelUnknown``, ``ConversationBusy``, ``TooManyRuns`` or, of a
        detached one, ``TooManyPendingRuns``, ``FieldInvalid`` for a schema that cannot be used, ``ImagesNotTaken``,
        ``ContextExceeded``, ``BudgetExceeded``, ``BudgetUnpriced``, ``MessageQuotaExceeded``, and what the question
        raises.
        """
        self._supervisor.check_open()
        if start.workflow_id is not None:
            raise WorkflowNotFound(workflow_id=start.workflow_id)
        await self._asking.check_schema(start.response_schema, caller.owner_id)
        starting = self._supervisor.own(self._start(caller, start, question, key), "start of a run")
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            if start.cancel_on_disconnect:
                _ = self._supervisor.own(self._abandon(caller, starting), "abandoned start")
            raise

    async def _abandon(self, caller: Caller, starting: asyncio.Task[str]) -> None:
        """Cancel a run whose client went away while it was being started."""
        try:
            run_id = await starting
        except ChatterError:
            # Nothing was started; nobody is left to be told why.
            return
        self._runs.abandon(caller, run_id)

    async def _start(self, caller: Caller, start: Start, question: Question, key: RequestKey) -> str:
        written: _Written | str | None = None
        try:
            async with self._storage.write() as tx:
                written = await self._write(tx, caller, start, question, key)
        except StorageUnavailable:
            if isinstance(written, _Written) and not start.detached:
                _ = self._supervisor.own(self._give_back(written), "release of a start")
            raise
        if isinstance(written, str):
            return written
        if start.detached:
            self._wakeups.notify((PENDING_RUNS,))
        else:
            self._supervisor.start(written.work, written.first, leased_at=written.leased_at)
        return written.work.run.id

    async def _write(
        self, tx: Transaction, caller: Caller, start: Start, question: Question, key: RequestKey
    ) -> "_Written | str":
        """Write question, run and first events; or return the id of the run that the same request started before."""
        run_id = new_id(RUN)
        now = self._clock()
        conversation_id = await question.conversation_id(tx, caller.owner_id)
        # First of all: who disables the account waits for this, and then sees the run, or is seen here.
        asker = Asker(actor_id=caller.actor_id, owner_id=caller.owner_id)
        held = await tx.starts.hold(asker, conversation_id, key, run_id, now)
        earlier = made_before(key, held.earlier)
        if earlier is not None:
            return earlier
        conversation = held.conversation
        if conversation.status is ConversationStatus.ARCHIVED:
            raise ConversationArchived(conversation_id=conversation.id)
        settings = self._resolve(start.overrides, conversation.settings)
        message = await question.ask(tx, held, run_id, now)
        info = self._asking.check(settings, message.parts, start.response_schema)
        budget = start.budget.within(self._limits.budget)
        run = _new_run(caller, start, message, run_id, now, budget)
        run_input = RunInput(
            user_message_id=message.id,
            before_index=message.index,
            settings=settings,
            memory=conversation.memory,
            response_schema=start.response_schema,
            takes_images=info.takes_images,
        )
        first = _first_events(run)
        process_id, lease = self._supervisor.process_id, self._supervisor.settings.lease
        leased_at = time.monotonic()
        most = self._limits.pending if start.detached else self._limits.at_work
        await tx.runs.add(run, run_input, first, process_id=process_id, lease_seconds=lease, most=most)
        # Last, since all that the account starts on this day waits for it to be committed.
        await count_message(tx.message_counts, held.account, self._limits.messages, now)
        turns: tuple[Turn, ...] = ()
        if not start.detached or budget.limits_usage:
            turns = await remembered_turns(tx, run_input, message)
        if budget.limits_usage:
            self._asking.check_budget(
                budget, Inquiry(turns=turns, settings=settings, response_schema=start.response_schema)
            )
        return _Written(work=Work(run=run, input=run_input, turns=turns), first=first, leased_at=leased_at)

    async def _give_back(self, written: "_Written") -> None:
        """Give a run back whose commit was not answered; whether it is there at all is not known.

        It is not begun here: its caller was told that there is none. Whoever takes it over goes on with it, and its
        caller finds it by the request's id. A commit that is still under way now is not waited for: what it writes
        is taken over when its lease expires.
        """
        run = written.work.run
        patience = Patience(give_up_after=self._supervisor.settings.lease)
        try:
            released = await release_run(self._storage, run, None, written.first.last_seq, patience=patience)
        except StorageUnavailable:
            # By now its lease has expired.
            return
        if released:
            self._wakeups.notify((run.id, RELEASED_RUNS))

    def _resolve(self, overrides: ModelSettings, settings: ModelSettings) -> ModelSettings:
        """Return settings in which the call goes before the conversation, and that before the server's default."""
        resolved = overrides.over(settings)
        models = self._asking.models
        name = resolved.model or models.default_model
        models.resolve(name)
        return ModelSettings(model=name).over(resolved)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """A run that was written with its first events; ``leased_at`` is a moment before its lease was."""

    work: Work
    first: Batch
    leased_at: float


def _new_run(caller: Caller, start: Start, message: Message, run_id: str, now: datetime, budget: Budget) -> Run:
    return Run(
        id=run_id,
        owner_id=caller.owner_id,
        actor_id=caller.actor_id,
        conversation_id=message.conversation_id,
        kind=start.kind or WorkflowKind.PLAIN,
        workflow_id=None,
        state=RunState.PENDING if start.detached else RunState.RUNNING,
        created_at=now,
        user_message_id=message.id,
        regeneration=message.run_id != run_id,
        budget=budget,
    )


def _first_events(run: Run) -> Batch:
    """Return what a run begins with; the attempt of one that waits has yet to start."""
    time_us = round(run.created_at.astimezone(UTC).timestamp() * 1_000_000)
    bodies: list[Body] = [RunStarted(run.id, run.conversation_id, run.user_message_id)]
    if run.state is RunState.RUNNING:
        bodies.append(AttemptStarted())
    return Batch(run.id, 1, tuple(Entry(seq, 1, "", time_us, body) for seq, body in enumerate(bodies, 1)))
