"""The reaper: takes over runs whose process went away or gave them back, and goes on with them in this one."""

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Final

from chatter_grpc.core.clock import Clock
from chatter_grpc.core.errors import ChatterError, RunInterrupted, StorageUnavailable
from chatter_grpc.core.observation import UNOBSERVED, Observer
from chatter_grpc.core.runs.ending import Outcome
from chatter_grpc.core.runs.fold import Fold
from chatter_grpc.core.runs.patience import PATIENT, Patience
from chatter_grpc.core.runs.preparing import end_unstarted, fold_log, load_work
from chatter_grpc.core.runs.run import Run, RunState, Taken
from chatter_grpc.core.runs.supervisor import HELD, Supervisor
from chatter_grpc.core.runs.wakeups import RELEASED_RUNS, WakeUps
from chatter_grpc.core.storage import Storage

REAPER_SECONDS: Final = 15.0
# So many runs are taken at a time: other processes have their share, and this one's other work its turns.
PORTION: Final = 8
# Attempts that may be lost one after the other without a finished step.
MAX_LOSSES: Final = 3

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaper:
    """Takes over runs and has the supervisor go on with them, or ends those that are not to go on.

    One that is to be cancelled is ended as that, and one that was lost ``MAX_LOSSES`` times in a row as interrupted,
    unless all of its work had been done. It looks every ``interval`` seconds for leases that have expired, and at once
    when a process gives runs back. ``limit`` is how many are taken at a time, ``give_up_after`` how many seconds it
    tries while the database is away. A process that stops takes none.
    """

    storage: Storage
    supervisor: Supervisor
    wakeups: WakeUps
    clock: Clock
    observer: Observer = UNOBSERVED
    interval: float = REAPER_SECONDS
    limit: int = PORTION
    give_up_after: float = PATIENT.give_up_after

    async def run(self) -> None:
        """Reap until cancelled."""
        news = asyncio.Event()
        unsubscribe = self.wakeups.subscribe(RELEASED_RUNS, news.set)
        try:
            while True:
                await self._try_to_reap()
                await self._wait(news)
        finally:
            unsubscribe()

    async def reap(self) -> int:
        """Take over all runs that are lost now, and return how many; raises ``StorageUnavailable``.

        Each is at work here or has ended when this returns. One with which neither could be done is left, and found
        again when the lease that it has been given is over.
        """
        count = 0
        while not self.supervisor.stopping:
            # Owned, so that a server that stops waits for it: a run that was taken is to be gone on with.
            taken = await asyncio.shield(self.supervisor.own(self._reap_portion(), "takeover of runs"))
            count += taken
            if taken < self.limit:
                break
        return count

    async def take_to_cancel(self, run: Run) -> None:
        """End a run as cancelled in place of the attempt ``run.attempt``, where that has not ended it meanwhile.

        Its intent is durable. Raises ``StorageUnavailable``.
        """
        leased_at = time.monotonic()
        settings = self.supervisor.settings
        async with self.storage.write() as tx:
            taken = await tx.runs.take(run.id, run.attempt, self.supervisor.process_id, settings.lease)
        if taken is not None:
            await self._go_on(taken, leased_at)

    async def _wait(self, news: asyncio.Event) -> None:
        """Wait for the next look at leases, or until there is a run that was given back."""
        over = asyncio.get_running_loop().time() + self.interval
        while True:
            try:
                async with asyncio.timeout_at(over):
                    await news.wait()
            except TimeoutError:
                return
            news.clear()
            # The wake-ups tick as well; to write each time would be in the way of others that do.
            if not self.supervisor.stopping and await self._any_released():
                return

    async def _any_released(self) -> bool:
        try:
            async with self.storage.read() as tx:
                return await tx.runs.any_lost(released=True)
        except StorageUnavailable:
            # The next tick asks again.
            return False

    async def _try_to_reap(self) -> None:
        try:
            async with self.storage.read() as tx:
                lost = await tx.runs.any_lost()
            if lost:
                # Where the database's clock has leapt, on a machine that slept, they may be those at work here.
                await self.supervisor.renew()
                await self.reap()
        except StorageUnavailable:
            _log.warning("reaper_failed")
        except Exception:  # noqa: BLE001
            _log.exception("reaper_fault")

    async def _reap_portion(self) -> int:
        leased_at = time.monotonic()
        lease = self.supervisor.settings.lease
        async with self.storage.write() as tx:
            lost = await tx.runs.take_lost(self.supervisor.process_id, lease, self.limit)
        async with asyncio.TaskGroup() as group:
            for taken in lost:
                group.create_task(self._go_on_patiently(taken, leased_at))
        return len(lost)

    async def _go_on_patiently(self, taken: Taken, leased_at: float) -> None:
        """Go on with a run, trying again while the database is away, for as long as the lease is sure to hold."""
        sure = leased_at + self.supervisor.settings.lease * HELD - time.monotonic()
        try:
            await Patience(give_up_after=min(self.give_up_after, sure)).insist(
                lambda _again: self._go_on(taken, leased_at)
            )
        except StorageUnavailable:
            _log.warning("run_takeover_failed", extra={"run_id": taken.run.id})
        except Exception:  # noqa: BLE001
            # A run that cannot be dealt with must not keep the others from their turn.
            _log.exception("run_takeover_fault", extra={"run_id": taken.run.id})

    async def _go_on(self, taken: Taken, leased_at: float) -> None:
        """Start the attempt that was taken, or end the run in its name."""
        run = taken.run
        self.supervisor.lose(run.id, run.attempt)
        before = Fold()
        work = None
        outcome = Outcome(state=RunState.CANCELLED)
        try:
            before = await fold_log(self.storage, run)
            if run.cancel_requested_at is None:
                work = await load_work(self.storage, run, taken, before)
        except StorageUnavailable:
            raise
        except ChatterError as failure:
            outcome = Outcome(state=RunState.FAILED, failure=failure.with_traceback(None))
        if work is not None:
            refusal = RunInterrupted(run_id=run.id) if taken.losses >= MAX_LOSSES else None
            self.supervisor.start(work, taken.first, leased_at=leased_at, refusal=refusal)
        else:
            patience = Patience(give_up_after=min(self.give_up_after, self.supervisor.settings.lease))
            if not await end_unstarted(self.storage, run, before, outcome, self.clock(), patience=patience):
                return
        self.wakeups.notify((run.id,))
        self.observer.run_taken_over()
        names = {"run_id": run.id, "attempt": run.attempt, "losses": taken.losses}
        _log.warning("run_taken_over", extra={**names, "outcome": "goes on" if work else outcome.state.value})
