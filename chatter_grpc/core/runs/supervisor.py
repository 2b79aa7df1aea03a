"""The supervisor: owns the runs that are at work in this process, from their start to their end."""

import asyncio
import logging
from collections.abc import Collection, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from chatter_grpc.core.clock import Clock
from chatter_grpc.core.errors import (
    ChatterError,
    Internal,
    RunInterrupted,
    RunTimeout,
    ServerStopping,
    StorageUnavailable,
)
from chatter_grpc.core.runs.committer import GroupCommitter
from chatter_grpc.core.runs.ending import Outcome, end_run
from chatter_grpc.core.runs.events import Batch
from chatter_grpc.core.runs.executor import Executor, Work
from chatter_grpc.core.runs.run import RunState
from chatter_grpc.core.runs.tail import Tail
from chatter_grpc.core.runs.wakeups import WakeUps
from chatter_grpc.core.runs.writer import RunWriter
from chatter_grpc.core.storage import Storage

CANCEL_POLL_SECONDS: Final = 1.0

_log = logging.getLogger(__name__)
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """Times of runs, in seconds: how long one may take, how long its lease holds, and how often that is renewed."""

    time_limit: float = 300.0
    lease: float = 30.0
    renew: float = 10.0


@dataclass(slots=True, eq=False)
class _Active:
    work: Work
    tail: Tail
    writer: RunWriter
    task: asyncio.Task[None] | None = None
    outcome_if_cancelled: Outcome | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Supervisor:
    """Runs attempts as tasks of its own, ends them in the database, and cancels them.

    ``process_id`` names this process in leases; it is new at every start.
    """

    def __init__(
        self,
        process_id: str,
        storage: Storage,
        executor: Executor,
        committer: GroupCommitter,
        wakeups: WakeUps,
        settings: RunSettings,
        clock: Clock,
    ) -> None:
        self.process_id = process_id
        self.settings = settings
        self._storage = storage
        self._executor = executor
        self._committer = committer
        self._wakeups = wakeups
        self._clock = clock
        self._active: dict[str, _Active] = {}
        self._owned: set[asyncio.Task[Any]] = set()
        self._stopping = False

    @property
    def active_count(self) -> int:
        """How many runs are at work here."""
        return len(self._active)

    def check_open(self) -> None:
        """Raise ``ServerStopping`` where nothing new may start."""
        if self._stopping:
            raise ServerStopping

    def tail(self, run_id: str) -> Tail | None:
        """Return the live tail of a run that is at work here."""
        active = self._active.get(run_id)
        return active.tail if active is not None else None

    def start(self, work: Work, first: Batch) -> None:
        """Begin an attempt whose row, lease and first events are committed."""
        tail = Tail(work.run.id, work.run.attempt, first.entries, first.last_seq)
        active = _Active(work, tail, RunWriter(tail, self._committer))
        self._active[work.run.id] = active
        active.task = self.own(self._attempt(active), f"run {work.run.id}")

    def own(self, work: Coroutine[Any, Any, Result], name: str) -> asyncio.Task[Result]:
        """Do a piece of work to its end, whoever waits for it or goes away; ``stop`` waits for it."""
        task = asyncio.create_task(work, name=name)
        self._owned.add(task)
        task.add_done_callback(self._owned.discard)
        return task

    def cancel_here(self, run_ids: Collection[str]) -> None:
        """Cancel those of the runs that are at work here; their intent is in the database already."""
        for run_id in run_ids:
            self._interrupt(self._active.get(run_id), Outcome(state=RunState.CANCELLED))

    async def wait_ended(self, run_id: str, seconds: float) -> None:
        """Wait until a run that is at work here has ended in the database, at most so long."""
        active = self._active.get(run_id)
        if active is not None:
            try:
                async with asyncio.timeout(seconds):
                    await active.ended.wait()
            except TimeoutError:
                _log.warning("run_slow_to_end", extra={"run_id": run_id})

    async def run(self) -> None:
        """Renew leases and look for cancel intents from elsewhere until cancelled."""
        loop = asyncio.get_running_loop()
        renew_at = loop.time() + self.settings.renew
        while True:
            await asyncio.sleep(CANCEL_POLL_SECONDS)
            if not self._active:
                continue
            try:
                if loop.time() >= renew_at:
                    renew_at = loop.time() + self.settings.renew
                    async with self._storage.write() as tx:
                        await tx.runs.renew_leases(self.process_id, self.settings.lease)
                async with self._storage.read() as tx:
                    wanted = await tx.runs.cancel_requested(self.process_id)
            except StorageUnavailable:
                _log.warning("run_housekeeping_failed", extra={"runs": len(self._active)})
            else:
                self.cancel_here(wanted)

    async def stop(self, grace: float) -> None:
        """Take nothing new, let runs end by themselves for ``grace`` seconds, and end the rest as interrupted."""
        self._stopping = True
        if self._owned:
            await asyncio.wait(self._owned, timeout=grace)
        for active in tuple(self._active.values()):
            error = RunInterrupted(run_id=active.work.run.id)
            self._interrupt(active, Outcome(state=RunState.FAILED, failure=error))
        if self._owned:
            await asyncio.wait(self._owned, timeout=self.settings.lease)

    def _interrupt(self, active: _Active | None, outcome: Outcome) -> None:
        if active is not None and active.outcome_if_cancelled is None and active.task is not None:
            active.outcome_if_cancelled = outcome
            active.task.cancel()

    async def _attempt(self, active: _Active) -> None:
        """Do the work of one attempt and end its run; the task's own cancellation is how it is interrupted."""
        outcome = await self._execute(active)
        # From here on an interruption comes too late: the end is being written.
        active.outcome_if_cancelled = active.outcome_if_cancelled or outcome
        try:
            await self._end(active, outcome)
        finally:
            self._active.pop(active.work.run.id, None)
            active.ended.set()

    async def _execute(self, active: _Active) -> Outcome:
        limit = self.settings.time_limit
        try:
            async with asyncio.timeout(limit):
                await self._executor.execute(active.work, active.writer)
        except asyncio.CancelledError:
            if active.outcome_if_cancelled is None:
                raise
            return active.outcome_if_cancelled
        except TimeoutError:
            return Outcome(state=RunState.FAILED, failure=RunTimeout(limit_seconds=limit))
        except ChatterError as error:
            return Outcome(state=RunState.FAILED, failure=error)
        except Exception:  # noqa: BLE001
            _log.exception("run_fault", extra={"run_id": active.work.run.id})
            return Outcome(state=RunState.FAILED, failure=Internal())
        return Outcome(state=RunState.COMPLETED)

    async def _end(self, active: _Active, outcome: Outcome) -> None:
        run, tail, writer = active.work.run, active.tail, active.writer
        ended = False
        if not tail.lost:
            tail.append("", outcome.last_event(writer.stored(), writer.usage))
            ended = await self._write_end(active, outcome)
        if ended:
            _log.info("run_ended", extra={"run_id": run.id, "state": outcome.state.value, "events": tail.last_seq})
        else:
            tail.mark_lost()
            _log.warning("run_lost", extra={"run_id": run.id, "attempt": run.attempt})

    async def _write_end(self, active: _Active, outcome: Outcome) -> bool:
        run, tail, writer = active.work.run, active.tail, active.writer
        last = await self._committer.withdraw(tail)
        size = tail.size
        if last is None or tail.lost:
            return False
        try:
            now = self._clock()
            if not await end_run(self._storage, run, outcome, last, writer.messages, writer.usage, now):
                return False
        except StorageUnavailable:
            return False
        tail.mark_committed(last, size)
        self._wakeups.notify((run.id,))
        return True
