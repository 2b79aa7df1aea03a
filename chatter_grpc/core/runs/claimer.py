"""The claimer: begins pending runs in this process, as many at a time as it has room for."""

import asyncio
import logging
import time
from typing import Final

from chatter_grpc.core.clock import Clock
from chatter_grpc.core.errors import ChatterError, StorageUnavailable
from chatter_grpc.core.runs.ending import Outcome
from chatter_grpc.core.runs.events import AttemptStarted, Batch, Entry
from chatter_grpc.core.runs.fold import Fold
from chatter_grpc.core.runs.patience import Patience
from chatter_grpc.core.runs.preparing import end_unstarted, load_work
from chatter_grpc.core.runs.run import RunState
from chatter_grpc.core.runs.supervisor import Supervisor
from chatter_grpc.core.runs.wakeups import PENDING_RUNS, WakeUps
from chatter_grpc.core.storage import Storage

DETACHED_RUNS: Final = 16

_log = logging.getLogger(__name__)


class Claimer:
    """Claims runs that any process may begin, whenever it hears of one and at the latest at the wake-ups' next tick.

    ``room`` is how many runs that it claimed are at work here at a time, ``per_owner`` how many of one owner may be at
    work anywhere.
    """

    def __init__(
        self,
        storage: Storage,
        supervisor: Supervisor,
        wakeups: WakeUps,
        clock: Clock,
        *,
        room: int = DETACHED_RUNS,
        per_owner: int = 10,
    ) -> None:
        self._storage = storage
        self._supervisor = supervisor
        self._wakeups = wakeups
        self._clock = clock
        self._room = room
        self._per_owner = per_owner
        self._at_work = 0
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Claim until cancelled; nothing any more once the supervisor stops."""
        unsubscribe = self._wakeups.subscribe(PENDING_RUNS, self._news.set)
        try:
            while True:
                self._news.clear()
                await self._claim_all()
                await self._news.wait()
        finally:
            unsubscribe()

    async def _claim_all(self) -> None:
        try:
            while self._at_work < self._room and not self._supervisor.stopping:
                # Owned, so that a server that stops waits for it: a run that was claimed is to be begun.
                if not await asyncio.shield(self._supervisor.own(self._claim(), "claim of a run")):
                    return
        except StorageUnavailable:
            _log.warning("run_claim_failed")
        except Exception:  # noqa: BLE001
            _log.exception("run_claim_fault")

    async def _claim(self) -> bool:
        """Begin one run; return whether there was one."""
        async with self._storage.read() as tx:
            # Most of the time there is none, and to write would be in the way of others that do.
            if not await tx.runs.any_pending():
                return False
        now = self._clock()
        leased_at = time.monotonic()
        lease = self._supervisor.settings.lease
        async with self._storage.write() as tx:
            run = await tx.runs.claim(self._supervisor.process_id, lease, self._per_owner, now)
        if run is None:
            return False
        try:
            work = await load_work(self._storage, run)
        except StorageUnavailable:
            raise
        except ChatterError as failure:
            # One that cannot be begun is ended, so that it keeps no other from its turn.
            outcome = Outcome(state=RunState.FAILED, failure=failure.with_traceback(None))
            await end_unstarted(self._storage, run, Fold(), outcome, now, patience=Patience(give_up_after=lease))
        else:
            time_us = round(now.timestamp() * 1_000_000)
            first = Entry(run.last_seq, run.attempt, "", time_us, AttemptStarted())
            self._at_work += 1
            batch = Batch(run.id, run.attempt, (first,))
            self._supervisor.start(work, batch, self._note_end, leased_at=leased_at)
        self._wakeups.notify((run.id,))
        return True

    def _note_end(self) -> None:
        self._at_work -= 1
        self._news.set()
