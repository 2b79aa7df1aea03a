"""What a caller may do with runs: look at them, watch them, cancel them."""

import asyncio
import logging
from typing import Final

from chatter_grpc.core.callers import Caller
from chatter_grpc.core.clock import Clock
from chatter_grpc.core.errors import ChatterError, CursorExpired, RunAlreadyFinished, RunNotFound
from chatter_grpc.core.pages import Page, PageRequest
from chatter_grpc.core.runs.reader import Readers, RunReader
from chatter_grpc.core.runs.reaper import Reaper
from chatter_grpc.core.runs.run import LogPosition, Run, RunFilter, RunState
from chatter_grpc.core.runs.supervisor import Supervisor
from chatter_grpc.core.storage import Storage

# How long CancelRun waits for the one who does the work before it ends the run itself.
CANCEL_SECONDS: Final = 2.0
POLL_SECONDS: Final = 0.1
BEGINNING: Final = LogPosition()

_log = logging.getLogger(__name__)


class Runs:
    """The use-cases of runs.

    ``cancel_seconds`` is how long to wait for who is at work on a run that is cancelled before the ``reaper`` takes it.
    """

    def __init__(
        self,
        storage: Storage,
        supervisor: Supervisor,
        readers: Readers,
        clock: Clock,
        reaper: Reaper,
        cancel_seconds: float = CANCEL_SECONDS,
    ) -> None:
        self._storage = storage
        self._supervisor = supervisor
        self._readers = readers
        self._clock = clock
        self._reaper = reaper
        self._cancel_seconds = cancel_seconds

    async def get(self, caller: Caller, run_id: str) -> Run:
        """Return one of the caller's runs; raises ``RunNotFound``."""
        async with self._storage.read() as tx:
            return await tx.runs.get(caller.owner_id, run_id)

    async def list(self, caller: Caller, wanted: RunFilter, page: PageRequest) -> Page[Run]:
        """Return one page of the caller's runs, the latest first."""
        async with self._storage.read() as tx:
            return await tx.runs.list(caller.owner_id, wanted, page)

    async def watch(self, caller: Caller, run_id: str, position: LogPosition = BEGINNING) -> RunReader:
        """Return a reader of one of the caller's runs.

        Raises ``RunNotFound``; ``CursorExpired`` where there is a position, whose signature says that there was a run.
        """
        try:
            run = await self.get(caller, run_id)
        except RunNotFound:
            if position == BEGINNING:
                raise
            raise CursorExpired(run_id=run_id) from None
        return RunReader(self._readers, run_id, position, complete=not run.state.active)

    def reader(self, run_id: str, position: LogPosition = BEGINNING) -> RunReader:
        """Return a reader of a run that the caller is known to own."""
        return RunReader(self._readers, run_id, position)

    async def cancel(self, caller: Caller, run_id: str) -> Run:
        """Cancel one of the caller's runs and return it as it ended.

        The intent is durable before anyone acts on it, and is carried out even if the one who asks goes away. Where
        nobody has ended the run when ``cancel_seconds`` are over, it is taken and ended here; a run that somebody else
        took at that very moment may be returned as it is. Raises ``RunNotFound``, ``StorageUnavailable``, and
        ``RunAlreadyFinished`` where the run ended otherwise before.
        """
        return await asyncio.shield(self._supervisor.own(self._cancel(caller, run_id), f"cancel {run_id}"))

    def abandon(self, caller: Caller, run_id: str) -> None:
        """Cancel one of the caller's runs without waiting, because the stream that it was to end with has ended."""
        _ = self._supervisor.own(self._abandon(caller, run_id), f"abandon {run_id}")

    async def _abandon(self, caller: Caller, run_id: str) -> None:
        try:
            await self._cancel(caller, run_id)
        except RunAlreadyFinished:
            return
        except ChatterError as error:
            _log.warning("run_abandon_failed", extra={"run_id": run_id, "reason": error.reason})

    async def _cancel(self, caller: Caller, run_id: str) -> Run:
        async with self._storage.write() as tx:
            run = await tx.runs.get(caller.owner_id, run_id)
            if run.state.active:
                await tx.runs.request_cancel((run_id,), self._clock())
        if run.state.active:
            loop = asyncio.get_running_loop()
            give_up_at = loop.time() + self._cancel_seconds
            self._supervisor.cancel_here((run_id,))
            await self._supervisor.wait_ended(run_id, self._cancel_seconds)
            run = await self._ended(caller, run_id, give_up_at)
            if run.state.active:
                await self._reaper.take_to_cancel(run)
                # Where somebody else took it at that very moment, it has as long again.
                run = await self._ended(caller, run_id, loop.time() + self._cancel_seconds)
        if run.state in (RunState.COMPLETED, RunState.FAILED):
            raise RunAlreadyFinished(run_id=run_id, state=run.state.value)
        return run

    async def _ended(self, caller: Caller, run_id: str, give_up_at: float) -> Run:
        """Return the run once it has ended, or as it is at a time of the event loop's clock."""
        while True:
            run = await self.get(caller, run_id)
            if not run.state.active or asyncio.get_running_loop().time() >= give_up_at:
                return run
            await asyncio.sleep(POLL_SECONDS)
