"""Sending a message: stores it, starts the run that answers it, and hands out a reader of that run."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

from chatter_grpc.core.callers import Caller
from chatter_grpc.core.clock import Clock
from chatter_grpc.core.conversations import Conversation, ConversationStatus, MemoryMode, ModelSettings
from chatter_grpc.core.errors import AccountDisabled, ChatterError, ConversationArchived, WorkflowNotFound
from chatter_grpc.core.ids import MESSAGE, RUN, new_id
from chatter_grpc.core.messages import Message, TextPart, sha256_of
from chatter_grpc.core.models import ModelCatalogue, Role, Turn
from chatter_grpc.core.requests import RequestKey, claim_request
from chatter_grpc.core.runs.events import AttemptStarted, Batch, Entry, RunStarted
from chatter_grpc.core.runs.executor import Work
from chatter_grpc.core.runs.run import Run, RunInput, RunState, WorkflowKind
from chatter_grpc.core.runs.service import Runs
from chatter_grpc.core.runs.supervisor import Supervisor
from chatter_grpc.core.storage import Storage, Transaction
from chatter_grpc.core.usage import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """What to say and how it is to be answered. At most one of ``kind`` and ``workflow_id`` is set; none is plain.

    ``cancel_on_disconnect`` says that the run is to end when the one who sent, or watches what was sent, goes away.
    """

    conversation_id: str
    parts: tuple[TextPart, ...]
    overrides: ModelSettings
    kind: WorkflowKind | None = None
    workflow_id: str | None = None
    cancel_on_disconnect: bool = False


class Sending:
    """The use-case that starts runs from messages."""

    def __init__(
        self, storage: Storage, supervisor: Supervisor, runs: Runs, models: ModelCatalogue, clock: Clock
    ) -> None:
        self._storage = storage
        self._supervisor = supervisor
        self._runs = runs
        self._models = models
        self._clock = clock

    async def send(self, caller: Caller, send: Send, key: RequestKey) -> str:
        """Start a run and return its id, or that of the run that the same request started before.

        Message, run, request id and first events are one transaction, which comes to its end even if the caller goes
        away. Raises ``ServerStopping``, ``WorkflowNotFound``, ``ConversationNotFound``, ``RequestIdReused``,
        ``ConversationArchived``, ``AccountDisabled``, ``ModelUnknown`` and ``ConversationBusy``.
        """
        self._supervisor.check_open()
        if send.workflow_id is not None:
            raise WorkflowNotFound(workflow_id=send.workflow_id)
        start = self._supervisor.own(self._start(caller, send, key), "start of a run")
        try:
            return await asyncio.shield(start)
        except asyncio.CancelledError:
            if send.cancel_on_disconnect:
                _ = self._supervisor.own(self._abandon(caller, start), "abandoned start")
            raise

    async def _abandon(self, caller: Caller, start: asyncio.Task[str]) -> None:
        """Cancel a run whose client went away while it was being started."""
        try:
            run_id = await start
        except ChatterError:
            # Nothing was started; nobody is left to be told why.
            return
        self._runs.abandon(caller, run_id)

    async def _start(self, caller: Caller, send: Send, key: RequestKey) -> str:
        run_id = new_id(RUN)
        now = self._clock()
        async with self._storage.write() as tx:
            # First of all: who disables the account waits for this, and then sees the run, or is seen here.
            if not await tx.users.hold_active(caller.actor_id):
                raise AccountDisabled
            conversation = await tx.conversations.lock(caller.owner_id, send.conversation_id)
            earlier = await claim_request(tx.requests, key, run_id, now)
            if earlier is not None:
                return earlier
            if conversation.status is ConversationStatus.ARCHIVED:
                raise ConversationArchived(conversation_id=conversation.id)
            settings = self._resolve(send.overrides, conversation.settings)
            work, first = await self._insert(tx, caller, send, conversation, settings, run_id, now)
        self._supervisor.start(work, first)
        return run_id

    def _resolve(self, overrides: ModelSettings, settings: ModelSettings) -> ModelSettings:
        """Return settings in which the call goes before the conversation, and that before the server's default."""
        resolved = overrides.over(settings)
        name = resolved.model or self._models.default_model
        self._models.resolve(name)
        return ModelSettings(model=name).over(resolved)

    async def _insert(
        self,
        tx: Transaction,
        caller: Caller,
        send: Send,
        conversation: Conversation,
        settings: ModelSettings,
        run_id: str,
        now: datetime,
    ) -> tuple[Work, Batch]:
        message = _user_message(caller, send, run_id, now)
        index = await tx.messages.append(conversation.id, (message,), Usage())
        run = Run(
            id=run_id,
            owner_id=caller.owner_id,
            actor_id=caller.actor_id,
            conversation_id=conversation.id,
            kind=send.kind or WorkflowKind.PLAIN,
            workflow_id=None,
            state=RunState.RUNNING,
            created_at=now,
        )
        run_input = RunInput(
            user_message_id=message.id, before_index=index, settings=settings, memory=conversation.memory
        )
        first = _first_events(run, message)
        process_id, lease = self._supervisor.process_id, self._supervisor.settings.lease
        await tx.runs.add(run, run_input, first, process_id=process_id, lease_seconds=lease)
        return Work(run=run, input=run_input, turns=await remembered_turns(tx, run_input, message)), first


async def remembered_turns(tx: Transaction, run_input: RunInput, message: Message) -> tuple[Turn, ...]:
    """Return what the model of a run is given: as much of the past as memory allows, and the user's ``message``."""
    memory = run_input.memory
    past: tuple[Message, ...] = ()
    if memory.mode is MemoryMode.WINDOW:
        before = run_input.before_index
        past = await tx.messages.latest(message.owner_id, message.conversation_id, before, memory.window)
    turns = tuple(Turn(role=said.role, text=said.text) for said in past if said.text)
    return (*turns, Turn(role=Role.USER, text=message.text))


def _user_message(caller: Caller, send: Send, run_id: str, now: datetime) -> Message:
    return Message(
        id=new_id(MESSAGE),
        owner_id=caller.owner_id,
        conversation_id=send.conversation_id,
        run_id=run_id,
        role=Role.USER,
        parts=send.parts,
        text_sha256=sha256_of("".join(part.text for part in send.parts)),
        created_at=now,
    )


def _first_events(run: Run, message: Message) -> Batch:
    time_us = round(run.created_at.astimezone(UTC).timestamp() * 1_000_000)
    started = RunStarted(run.id, run.conversation_id, message.id)
    entries = (Entry(1, 1, "", time_us, started), Entry(2, 1, "", time_us, AttemptStarted()))
    return Batch(run.id, 1, entries)
