"""Does the work of a housekeeping run, portion by portion, each in a short transaction of its own."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from chatter_grpc.core.clock import Clock
from chatter_grpc.core.errors import StorageUnavailable
from chatter_grpc.core.housekeeping.duties import Cutoffs, Duty, Retention
from chatter_grpc.core.housekeeping.observation import HousekeepingObserver, Unwatched
from chatter_grpc.core.housekeeping.pace import Pace
from chatter_grpc.core.housekeeping.store import EndedRun
from chatter_grpc.core.runs.compaction import compact_log
from chatter_grpc.core.runs.executor import Work
from chatter_grpc.core.runs.writer import RunWriter, StepWriter
from chatter_grpc.core.storage import Storage

PASS_SECONDS: Final = 240.0
# What its steps are called in the run's log.
NODE_TYPE: Final = "housekeeping"
_LISTED: Final = 100

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Housekeeper:
    """The ``Executor`` for housekeeping. Whatever it does once more, it finds done.

    A pass ends when there is nothing left to do, or ``time_limit`` seconds after its first attempt began.
    """

    storage: Storage
    clock: Clock
    retention: Retention = field(default_factory=Retention)
    observer: HousekeepingObserver = field(default_factory=Unwatched)
    time_limit: float = PASS_SECONDS

    async def execute(self, work: Work, writer: RunWriter) -> None:
        """See ``Executor``."""
        began_at = time.monotonic()
        one = _Pass(self, writer, began_at + self.time_limit - work.elapsed)
        for duty in Duty:
            self.observer.began(duty)
            await one.do(duty)
        self.observer.passed(time.monotonic() - began_at)


class _Pass:
    """One attempt at a pass; ``until`` is by the monotonic clock."""

    def __init__(self, keeper: Housekeeper, writer: RunWriter, until: float) -> None:
        self._storage = keeper.storage
        self._observer = keeper.observer
        self._writer = writer
        self._until = until
        self._cutoffs = Cutoffs.at(keeper.clock(), keeper.retention)

    def _in_time(self) -> bool:
        return time.monotonic() < self._until

    async def do(self, duty: Duty) -> None:
        """Do all that is due of one kind, as far as the time reaches; what was nothing leaves no step in the log."""
        step = await (self._compact() if duty is Duty.LOGS else self._remove(duty))
        if step is not None:
            step.finish()

    async def _remove(self, duty: Duty) -> StepWriter | None:
        step = None
        pace = Pace()
        while self._in_time():
            # Most of the time there is nothing, and to write would be in the way of others that do.
            async with self._storage.read() as tx:
                if not await tx.housekeeping.is_due(duty, self._cutoffs):
                    break
            step = step or self._open_step(duty)
            async with self._storage.write() as tx:
                began_at = time.monotonic()
                removed = await tx.housekeeping.remove(duty, self._cutoffs, pace.rows)
            self._observer.removed(removed)
            if not sum(removed.values()):
                # Somebody else holds what is left.
                break
            await asyncio.sleep(pace.took(time.monotonic() - began_at))
        return step

    async def _compact(self) -> StepWriter | None:
        step = None
        pace = Pace()
        last: EndedRun | None = None
        while self._in_time():
            async with self._storage.read() as tx:
                ended = await tx.housekeeping.ended_runs(self._cutoffs.logs, last, _LISTED)
            for last in ended:
                if not self._in_time():
                    break
                step = step or self._open_step(Duty.LOGS)
                await asyncio.sleep(pace.took(await self._try_to_compact(last.id)))
            if len(ended) < _LISTED:
                break
        return step

    async def _try_to_compact(self, run_id: str) -> float:
        """Compact a log and return how long others had to wait. One that cannot be keeps no other from its turn."""
        began_at = time.monotonic()
        try:
            async with self._storage.write() as tx:
                began_at = time.monotonic()
                compaction = await compact_log(tx, run_id)
                removed: Mapping[str, int] = {}
                if compaction is not None:
                    removed = await tx.housekeeping.drop_scaffolding(run_id)
        except StorageUnavailable:
            raise
        except Exception:  # noqa: BLE001
            _log.exception("log_compaction_fault", extra={"run_id": run_id})
        else:
            if compaction is not None:
                self._observer.compacted(compaction.bytes_before, compaction.bytes_after)
                self._observer.removed(removed)
        return time.monotonic() - began_at

    def _open_step(self, duty: Duty) -> StepWriter:
        return self._writer.open_step(duty.value, NODE_TYPE)
