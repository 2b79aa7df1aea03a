"""The reaper: ends runs whose process went away without ending them."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from chatter_grpc.core.clock import Clock
from chatter_grpc.core.errors import RunInterrupted, StorageUnavailable
from chatter_grpc.core.runs.ending import GIVE_UP_SECONDS, Outcome, end_run
from chatter_grpc.core.runs.events import AttemptStarted, Batch, Entry, StoredMessage
from chatter_grpc.core.runs.fold import Fold, FoldedMessage
from chatter_grpc.core.runs.reader import FRAME_SIZE
from chatter_grpc.core.runs.run import LogPosition, Run, RunState
from chatter_grpc.core.runs.wakeups import WakeUps
from chatter_grpc.core.runs.writer import FinishedMessage
from chatter_grpc.core.storage import Storage

REAP_SECONDS: Final = 15.0
REAP_LIMIT: Final = 100

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaper:
    """Takes over runs whose lease has expired and ends them: cancelled where that was asked for, else failed.

    It looks every ``interval`` seconds, takes ``limit`` runs at a time, and gives up on a database that is away for
    ``give_up_after`` seconds.
    """

    process_id: str
    lease: float
    storage: Storage
    wakeups: WakeUps
    clock: Clock
    interval: float = REAP_SECONDS
    limit: int = REAP_LIMIT
    give_up_after: float = GIVE_UP_SECONDS

    async def run(self) -> None:
        """Reap until cancelled."""
        while True:
            try:
                await self.reap()
            except StorageUnavailable:
                _log.warning("reaper_failed")
            await asyncio.sleep(self.interval)

    async def reap(self) -> int:
        """End all runs that are lost now and return how many were ended.

        A run that cannot be ended is left, and found again when the lease that it has been given is over.
        """
        count = 0
        while True:
            async with self.storage.write() as tx:
                lost = await tx.runs.take_lost(self.process_id, self.lease, self.limit)
            for run in lost:
                count += await self._try_to_end(run)
            if len(lost) < self.limit:
                return count

    async def _try_to_end(self, run: Run) -> bool:
        try:
            return await self._end(run)
        except StorageUnavailable:
            raise
        except Exception:  # noqa: BLE001
            # A run whose log or messages cannot be dealt with must not keep the others from their end.
            _log.exception("run_reap_fault", extra={"run_id": run.id})
            return False

    async def _end(self, run: Run) -> bool:
        fold = await self._fold(run)
        usage = fold.usage + fold.uncounted()
        now = self.clock()
        time_us = round(now.timestamp() * 1_000_000)
        started = Entry(run.last_seq + 1, run.attempt, "", time_us, AttemptStarted())
        # What readers drop at this event is not stored either.
        fold.take((started,))
        messages = [_finished(message) for message in fold.messages.values() if message.finished is not None]
        stored = tuple(StoredMessage(message.id, message.text_sha256) for message in messages)
        outcome = (
            Outcome(state=RunState.CANCELLED)
            if run.cancel_requested_at is not None
            else Outcome(state=RunState.FAILED, failure=RunInterrupted(run_id=run.id))
        )
        last = Entry(started.seq + 1, run.attempt, "", time_us, outcome.last_event(stored, usage))
        batch = Batch(run.id, run.attempt, (started, last))
        ended = await end_run(self.storage, run, outcome, batch, messages, usage, now, give_up_after=self.give_up_after)
        if not ended:
            return False
        _log.warning("run_reaped", extra={"run_id": run.id, "attempt": run.attempt})
        self.wakeups.notify((run.id,))
        return True

    async def _fold(self, run: Run) -> Fold:
        fold = Fold()
        position = LogPosition()
        while True:
            async with self.storage.read() as tx:
                entries = await tx.runs.read_log(run.id, position, FRAME_SIZE)
            if not entries:
                return fold
            fold.take(entries)
            position = LogPosition(entries[-1].attempt, entries[-1].seq)


def _finished(message: FoldedMessage) -> FinishedMessage:
    finished = message.finished
    assert finished is not None
    return FinishedMessage(
        id=finished.message_id,
        text=message.text,
        text_sha256=finished.text_sha256,
        model=message.started.model,
        provider=message.started.provider,
        finish_reason=finished.finish_reason,
        usage=finished.usage,
        latency_ms=finished.latency_ms,
    )
