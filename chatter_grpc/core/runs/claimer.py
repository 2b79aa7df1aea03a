"""The claimer: begins pending runs in this process, as many at a time as it has room for."""

import asyncio
import logging
from datetime import datetime
from typing import Final

from chatter_grpc.core.clock import Clock
from chatter_grpc.core.errors import ChatterError, Internal, StorageUnavailable
from chatter_grpc.core.runs.ending import Outcome
from chatter_grpc.core.runs.events import AttemptStarted, Batch, Body, Entry
from chatter_grpc.core.runs.executor import Work
from chatter_grpc.core.runs.run import Run, RunEnd, RunState
from chatter_grpc.core.runs.supervisor import Supervisor
from chatter_grpc.core.runs.turns import remembered_turns
from chatter_grpc.core.runs.wakeups import PENDING_RUNS, WakeUps
from chatter_grpc.core.storage import Storage, Transaction
from chatter_grpc.core.usage import Usage

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
        lease = self._supervisor.settings.lease
        async with self._storage.write() as tx:
            run = await tx.runs.claim(self._supervisor.process_id, lease, self._per_owner, now)
            if run is None:
                return False
            work = await self._prepare(tx, run, now)
        if work is not None:
            self._at_work += 1
            self._supervisor.start(work, _batch(run, run.last_seq, AttemptStarted(), now), self._note_end)
        self._wakeups.notify((run.id,))
        return True

    def _note_end(self) -> None:
        self._at_work -= 1
        self._news.set()

    async def _prepare(self, tx: Transaction, run: Run, now: datetime) -> Work | None:
        """Return the work of a run. One that cannot be begun is ended, so that it keeps no other from its turn."""
        try:
            run_input = await tx.runs.input(run.owner_id, run.id)
            message = await tx.messages.get(run.owner_id, run_input.user_message_id)
            return Work(run=run, input=run_input, turns=await remembered_turns(tx, run_input, message))
        except StorageUnavailable:
            raise
        except ChatterError as error:
            failure = error
        except Exception:  # noqa: BLE001
            _log.exception("run_fault", extra={"run_id": run.id})
            failure = Internal()
        usage = Usage()
        last = Outcome(state=RunState.FAILED, failure=failure).last_event((), usage)
        end = RunEnd(
            state=RunState.FAILED,
            usage=usage,
            finished_at=now,
            failure_reason=failure.reason,
            failure_message=failure.message,
        )
        await tx.runs.finish(end, _batch(run, run.last_seq + 1, last, now))
        return None


def _batch(run: Run, seq: int, body: Body, now: datetime) -> Batch:
    return Batch(run.id, run.attempt, (Entry(seq, run.attempt, "", round(now.timestamp() * 1_000_000), body),))
