"""Processes that keep house, and ways to stop them in the middle of it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from chatter_grpc.adapters.models.scripted import ScriptedChat, answer_script
from chatter_grpc.core.clock import utc_now
from chatter_grpc.core.housekeeping.housekeeper import Housekeeper
from chatter_grpc.core.housekeeping.schedule import HousekeepingStarts
from chatter_grpc.core.runs.executor import ExecutorByKind
from chatter_grpc.core.runs.run import LogCommitter, WorkflowKind
from chatter_grpc.core.storage import Storage, Transaction
from tests.support.catalogues import Catalogue
from tests.support.replicas import Process


@dataclass(slots=True)
class HeldStorage:
    """A housekeeper's way to the database, on which no more than so many ``portions`` are let through."""

    storage: Storage
    portions: int
    waiting: asyncio.Event = field(default_factory=asyncio.Event)

    def read(self) -> AbstractAsyncContextManager[Transaction]:
        """See ``Storage``."""
        return self.storage.read()

    @asynccontextmanager
    async def write(self, *, urgent: bool = False) -> AsyncIterator[Transaction]:
        """See ``Storage``."""
        if self.portions == 0:
            self.waiting.set()
            await asyncio.Event().wait()
        self.portions -= 1
        async with self.storage.write(urgent=urgent) as tx:
            yield tx

    async def ping(self) -> None:
        """See ``Storage``."""
        await self.storage.ping()


class Keeper(Process):
    """A process that keeps house, and believes that it is ``now``."""

    def __init__(
        self,
        storage: Storage,
        log: LogCommitter,
        *,
        name: str = "process",
        now: Callable[[], datetime] = utc_now,
        held: HeldStorage | None = None,
        time_limit: float = 60.0,
        grace: float = 0.0,
    ) -> None:
        keeper = Housekeeper(storage=held or storage, clock=now, time_limit=time_limit)
        executor = ExecutorByKind({WorkflowKind.HOUSEKEEPING: keeper}, otherwise=keeper)
        models = Catalogue({"model": ScriptedChat(answer_script("A"))})
        super().__init__(storage, log, models, name=name, executor=executor, grace=grace)
        self.starts = HousekeepingStarts(self.storage, self.supervisor, utc_now)
