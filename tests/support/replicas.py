"""The run core of one process, put together as a server does it, on a database that may fail in every way."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import TracebackType
from typing import Self

from chatter_grpc._gen.chatter.v1.run_service_pb2 import WatchRunResponse
from chatter_grpc.adapters.langgraph.engine import LangGraphEngine
from chatter_grpc.adapters.memory.wakeups import MemoryWakeUps
from chatter_grpc.core.background import Background
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.clock import utc_now
from chatter_grpc.core.conversations import ModelSettings
from chatter_grpc.core.errors import StorageUnavailable
from chatter_grpc.core.graphs import BUILT_IN, GraphDefinition
from chatter_grpc.core.ids import new_id
from chatter_grpc.core.messages import Message, TextPart
from chatter_grpc.core.models import ModelCatalogue
from chatter_grpc.core.pages import PageRequest
from chatter_grpc.core.regenerating import Regenerate
from chatter_grpc.core.requests import RequestKey
from chatter_grpc.core.runs.claimer import Claimer
from chatter_grpc.core.runs.committer import CommitSettings, GroupCommitter
from chatter_grpc.core.runs.events import Batch
from chatter_grpc.core.runs.executor import Executor
from chatter_grpc.core.runs.fold import Fold
from chatter_grpc.core.runs.reader import Chunk, Control, Readers, RunReader
from chatter_grpc.core.runs.reaper import Reaper
from chatter_grpc.core.runs.run import LogCommitter, LogPosition, Run, WorkflowKind
from chatter_grpc.core.runs.saving import Checkpointing
from chatter_grpc.core.runs.service import Runs
from chatter_grpc.core.runs.supervisor import RunSettings, Supervisor
from chatter_grpc.core.runs.wakeups import WakeUps
from chatter_grpc.core.sending import Send, Sending
from chatter_grpc.core.starting import RunLimits, Starting
from chatter_grpc.core.storage import Storage, Transaction
from chatter_grpc.rpc.cursors import CursorSigner
from chatter_grpc.rpc.frames import frame_of
from tests.support.asking import WordSchemas, asking_of
from tests.support.fold import ClientFold
from tests.support.waiting import MINUTE, eventually, soon, until

COMMITS = CommitSettings(interval=0.002, retry_pause=0.002)
RUNS = RunSettings(cancel_poll=0.01)
# Limits are for the tests that are about them.
MANY_RUNS = RunLimits(at_work=10_000, pending=10_000)
SEND_MESSAGE = "/chatter.v1.ChatService/SendMessage"
REGENERATE_MESSAGE = "/chatter.v1.ChatService/RegenerateMessage"
# Run, attempt, node and message begin before it.
FIRST_PIECE = 5
SIGNER = CursorSigner(b"c" * 32)


@dataclass(slots=True)
class Faults:
    """What goes wrong between a process and its database.

    While ``away`` is set nothing reaches it. ``lost_answers`` counts down the writing transactions that are committed
    while the process hears the contrary. ``at_commit`` is called before each of them is committed.
    """

    away: bool = False
    lost_answers: int = 0
    at_commit: Callable[[], None] = lambda: None

    def check(self) -> None:
        """Raise ``StorageUnavailable`` while the database is away."""
        if self.away:
            raise StorageUnavailable

    def lose_answer(self) -> None:
        """Raise ``StorageUnavailable`` after a commit whose answer is lost."""
        if self.lost_answers:
            self.lost_answers -= 1
            raise StorageUnavailable


@dataclass(slots=True)
class FaultyStorage:
    """A process's way to the database; ``open`` counts transactions that are open now."""

    storage: Storage
    faults: Faults
    open: int = 0

    def read(self) -> AbstractAsyncContextManager[Transaction]:
        """See ``Storage``."""
        return self._counted(self.storage.read())

    def write(self, *, urgent: bool = False) -> AbstractAsyncContextManager[Transaction]:
        """See ``Storage``."""
        return self._writing(urgent=urgent)

    async def ping(self) -> None:
        """See ``Storage``."""
        self.faults.check()
        await self.storage.ping()

    @asynccontextmanager
    async def _counted(self, transaction: AbstractAsyncContextManager[Transaction]) -> AsyncIterator[Transaction]:
        self.faults.check()
        async with transaction as tx:
            self.open += 1
            try:
                yield tx
            finally:
                self.open -= 1

    @asynccontextmanager
    async def _writing(self, *, urgent: bool) -> AsyncIterator[Transaction]:
        async with self._counted(self.storage.write(urgent=urgent)) as tx:
            yield tx
            self.faults.at_commit()
            self.faults.check()
        self.faults.lose_answer()


@dataclass(slots=True)
class FaultyLog:
    """A process's way to the log; ``gate`` holds commits back while it is not set."""

    log: LogCommitter
    faults: Faults
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0

    async def commit(self, batches: Sequence[Batch]) -> Collection[str]:
        """See ``LogCommitter``."""
        self.waiting += 1
        try:
            await self.gate.wait()
        finally:
            self.waiting -= 1
        self.faults.check()
        losers = await self.log.commit(batches)
        self.faults.lose_answer()
        return losers

    async def close(self) -> None:
        """The log is its owner's to close."""


class Process:
    """One process that runs conversations. Leaving it stops it without grace, and nothing of it may be left."""

    def __init__(
        self,
        storage: Storage,
        log: LogCommitter,
        models: ModelCatalogue,
        *,
        name: str = "process",
        commits: CommitSettings = COMMITS,
        runs: RunSettings = RUNS,
        executor: Executor | None = None,
        graphs: Mapping[WorkflowKind, GraphDefinition] = BUILT_IN,
        cancel_seconds: float = MINUTE,
        grace: float = 0.0,
        limits: RunLimits = MANY_RUNS,
        room: int = 100,
        wakeups: WakeUps | None = None,
    ) -> None:
        self.faults = Faults()
        self.storage = FaultyStorage(storage, self.faults)
        self.log = FaultyLog(log, self.faults)
        self.log.gate.set()
        self.wakeups = wakeups or MemoryWakeUps(tick=0.01)
        self.committer = GroupCommitter(self.log, self.wakeups.notify, commits)
        self.schemas = WordSchemas()
        asking = asking_of(models, self.schemas)
        executor = executor or LangGraphEngine(asking, Checkpointing(self.storage, self.committer), graphs)
        self.supervisor = Supervisor(name, self.storage, executor, self.committer, self.wakeups, runs, utc_now)
        self.readers = Readers(self.storage, self.wakeups, self.supervisor.tail)
        self.reaper = Reaper(
            storage=self.storage, supervisor=self.supervisor, wakeups=self.wakeups, clock=utc_now, interval=3600
        )
        self.runs = Runs(self.storage, self.supervisor, self.readers, utc_now, self.reaper, cancel_seconds)
        starting = Starting(self.storage, self.supervisor, self.runs, asking, self.wakeups, utc_now, limits)
        self.sending = Sending(starting)
        self.claimer = Claimer(
            self.storage, self.supervisor, self.wakeups, utc_now, room=room, per_owner=limits.at_work
        )
        self._grace = grace
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        background = await self._stack.enter_async_context(Background())
        background.start("wake-ups", self.wakeups.run())
        background.start("committer", self.committer.run())
        background.start("supervisor", self.supervisor.run())
        background.start("claimer", self.claimer.run())
        self._stack.push_async_callback(self.stop)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)
        if error is None:
            assert not self.supervisor.active_count
            assert not self.supervisor._owned
            assert not self.storage.open
            assert not self.readers.open

    def lose_database(self) -> None:
        """Have the database go away for longer than this process waits, which is long only while it is there."""
        self.committer.settings = replace(self.committer.settings, give_up_after=0.05)
        self.faults.away = True

    async def stop(self) -> None:
        """Stop as a server does."""
        self.readers.hand_off_elsewhere()
        await soon(self.supervisor.stop(self._grace))
        self.readers.hand_off()

    async def send(
        self,
        caller: Caller,
        conversation_id: str,
        text: str = "Hello?",
        *,
        request_id: str = "",
        payload: bytes = b"",
        overrides: ModelSettings | None = None,
        **more: object,
    ) -> str:
        """Send a message and return the id of the run; without a request id it is a request of its own."""
        key = RequestKey(
            owner_id=caller.owner_id,
            method=SEND_MESSAGE,
            request_id=request_id or new_id("req"),
            payload_hash=payload,
        )
        what = Send(
            conversation_id=conversation_id, parts=(TextPart(text=text),), overrides=overrides or ModelSettings()
        )
        return await self.sending.send(caller, replace(what, **more), key)  # type: ignore[arg-type]

    async def regenerate(
        self,
        caller: Caller,
        message_id: str,
        *,
        request_id: str = "",
        payload: bytes = b"",
        overrides: ModelSettings | None = None,
    ) -> str:
        """Regenerate an answer and return the id of the run; without a request id it is a request of its own."""
        key = RequestKey(
            owner_id=caller.owner_id,
            method=REGENERATE_MESSAGE,
            request_id=request_id or new_id("req"),
            payload_hash=payload,
        )
        what = Regenerate(message_id=message_id, overrides=overrides or ModelSettings())
        return await self.sending.regenerate(caller, what, key)

    async def answer(self, caller: Caller, conversation_id: str, text: str = "Hello?") -> ClientFold:
        """Send a message and read its run to the end."""
        return await self.follow(caller, await self.send(caller, conversation_id, text))

    async def follow(self, caller: Caller, run_id: str, position: LogPosition | None = None) -> ClientFold:
        """Read a run to its end, as a client does."""
        client = Client(await self.runs.watch(caller, run_id, position or LogPosition()), caller)
        return await client.read_to_end()

    def follow_along(self, caller: Caller, run_id: str) -> "asyncio.Task[ClientFold]":
        """Read a run to its end beside what else happens, as the client that sent the message does."""
        return asyncio.create_task(Client(self.runs.reader(run_id), caller).read_to_end())

    async def until_written(self, run_id: str, seq: int = FIRST_PIECE) -> None:
        """Return once the run at work here has written so many events."""
        await until(lambda: (tail := self.supervisor.tail(run_id)) is not None and tail.last_seq >= seq)

    async def until_committed(self, run_id: str) -> None:
        """Return once all that the run at work here has written is committed."""
        await until(lambda: (tail := self.supervisor.tail(run_id)) is not None and tail.committed_seq == tail.last_seq)

    async def take_over(self, count: int = 1) -> None:
        """Take over so many lost runs. One whose row another transaction holds at the moment is passed over."""
        taken = 0

        async def all_taken() -> bool:
            nonlocal taken
            taken += await self.reaper.reap()
            return taken >= count

        await eventually(all_taken)
        assert taken == count

    async def run_of(self, caller: Caller, run_id: str) -> Run:
        """Return a run as the database has it."""
        return await self.runs.get(caller, run_id)

    async def ended(self, caller: Caller, run_id: str) -> Run:
        """Return a run once it has ended in the database."""

        async def has_ended() -> bool:
            return not (await self.run_of(caller, run_id)).state.active

        await eventually(has_ended)
        return await self.run_of(caller, run_id)


class Client:
    """Reads a run as frames, and folds them."""

    def __init__(self, reader: RunReader, caller: Caller) -> None:
        self.reader = reader
        self.fold = ClientFold()
        self.controls: list[Control] = []
        self.cursor = LogPosition()
        self._cursors = SIGNER.for_run(caller.owner_id, reader.run_id)

    def take(self, chunk: Chunk) -> None:
        """Take a chunk by the way of the wire."""
        frame = WatchRunResponse.FromString(frame_of(chunk, self._cursors, WatchRunResponse).SerializeToString())
        if chunk.entries and self.cursor != LogPosition() and self.fold.seq == 0:
            # It began in the middle of the log.
            self.fold.attempt, self.fold.seq = self.cursor.attempt, self.cursor.seq
        self.fold.take(frame.events)
        self.cursor = LogPosition(*self._cursors.decode(frame.cursor))
        if chunk.control is not None:
            self.controls.append(chunk.control)

    async def read(self) -> Chunk | None:
        """Read one frame."""
        chunk = await soon(self.reader.next())
        if chunk is not None:
            self.take(chunk)
        return chunk

    async def read_to_end(self, pause: Callable[[], object] = lambda: None) -> ClientFold:
        """Read until the stream ends."""
        async with self.reader:
            while await self.read() is not None:
                pause()
        return self.fold


async def stored_messages(storage: Storage, caller: Caller, conversation_id: str) -> list[Message]:
    """Return all messages of a conversation, in order."""
    async with storage.read() as tx:
        page = await tx.messages.list(caller.owner_id, conversation_id, PageRequest(size=1000), newest_first=False)
    return list(page.items)


async def stored_fold(storage: Storage, run_id: str) -> Fold:
    """Return the fold of all that the database has of a run's log."""
    fold = Fold()
    async with storage.read() as tx:
        entries = await tx.runs.read_log(run_id, LogPosition(), 1 << 30)
    numbers = [(entry.first_seq, entry.seq) for entry in entries]
    assert all(after[0] == before[1] + 1 for before, after in pairwise(numbers))
    fold.take(entries)
    return fold
