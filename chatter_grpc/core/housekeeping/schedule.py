"""When housekeeping begins, and where: in whichever process looks first when it is due."""

import asyncio
import logging
import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from chatter_grpc.core.clock import Clock
from chatter_grpc.core.conversations import Memory, ModelSettings
from chatter_grpc.core.errors import StorageUnavailable
from chatter_grpc.core.housekeeping.housekeeper import PASS_SECONDS
from chatter_grpc.core.housekeeping.observation import HousekeepingObserver
from chatter_grpc.core.housekeeping.store import SYSTEM, Passes
from chatter_grpc.core.ids import RUN, new_id
from chatter_grpc.core.runs.events import AttemptStarted, Batch, Body, Entry, RunStarted
from chatter_grpc.core.runs.executor import Work
from chatter_grpc.core.runs.run import Run, RunInput, RunState, WorkflowKind
from chatter_grpc.core.runs.supervisor import Supervisor
from chatter_grpc.core.storage import Storage

# How often to look at most, whatever the interval.
LOOK_SECONDS: Final = 60.0
LOOKS_PER_INTERVAL: Final = 4
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)
# There is no message to answer, and no model to ask.
_INPUT: Final = RunInput(user_message_id="", before_index=0, settings=ModelSettings(), memory=Memory())

_log = logging.getLogger(__name__)


class HousekeepingStarts:
    """Begins housekeeping runs in this process; of all processes one has such a run at work."""

    def __init__(self, storage: Storage, supervisor: Supervisor, clock: Clock) -> None:
        self._storage = storage
        self._supervisor = supervisor
        self._clock = clock

    async def start(self, *, earlier_than: datetime = _LAST) -> str | None:
        """Begin a run and return its id.

        ``None`` where one is at work already, or one began at ``earlier_than`` or later. Raises ``ServerStopping`` and
        ``StorageUnavailable``.
        """
        self._supervisor.check_open()
        # Owned, so that a server that stops waits for it: a run that is there is to be begun.
        return await asyncio.shield(self._supervisor.own(self._start(earlier_than), "start of housekeeping"))

    async def _start(self, earlier_than: datetime) -> str | None:
        now = self._clock()
        run = Run(
            id=new_id(RUN),
            owner_id=SYSTEM,
            actor_id=SYSTEM,
            conversation_id="",
            kind=WorkflowKind.HOUSEKEEPING,
            workflow_id=None,
            state=RunState.RUNNING,
            created_at=now,
        )
        time_us = round(now.timestamp() * 1_000_000)
        bodies: tuple[Body, ...] = (RunStarted(run.id, "", ""), AttemptStarted())
        first = Batch(run.id, 1, tuple(Entry(seq, 1, "", time_us, body) for seq, body in enumerate(bodies, 1)))
        async with self._storage.write() as tx:
            leased_at = time.monotonic()
            begun = await tx.housekeeping.begin(
                run,
                _INPUT,
                first,
                process_id=self._supervisor.process_id,
                lease_seconds=self._supervisor.settings.lease,
                earlier_than=earlier_than,
            )
        if not begun:
            return None
        self._supervisor.start(Work(run=run, input=_INPUT, turns=()), first, leased_at=leased_at)
        return run.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Timetable:
    """When a pass is due: ``interval`` seconds after the one before began, or at once where that ran out of time.

    An interval of 0 is never over. ``pass_seconds`` is how long a pass takes at most.
    """

    interval: float
    pass_seconds: float = PASS_SECONDS

    def is_due(self, passes: Passes, now: datetime) -> bool:
        """Whether to begin a pass."""
        if not self.interval:
            return False
        if passes.began_at is None:
            return True
        if passes.ended_at is not None and passes.ended_at - passes.began_at >= timedelta(seconds=self.pass_seconds):
            return True
        return now - passes.began_at >= timedelta(seconds=self.interval)

    def pause(self) -> float:
        """Return how long to wait before the next look, in seconds, so that processes do not all look at once."""
        between = min(self.interval / LOOKS_PER_INTERVAL, LOOK_SECONDS) if self.interval else LOOK_SECONDS
        return between * random.uniform(0.5, 1.0)  # noqa: S311 - nothing secret


class HousekeepingScheduler:
    """Looks now and then whether housekeeping is due, begins it, and tells an observer how large the database is."""

    def __init__(
        self,
        storage: Storage,
        starts: HousekeepingStarts,
        timetable: Timetable,
        clock: Clock,
        observer: HousekeepingObserver | None,
    ) -> None:
        self._storage = storage
        self._starts = starts
        self._timetable = timetable
        self._clock = clock
        self._observer = observer

    async def run(self) -> None:
        """Look until cancelled; where there is nothing to look for, only wait."""
        if self._observer is None and not self._timetable.interval:
            await asyncio.Event().wait()
        while True:
            # A server that has just started has better things to do.
            await asyncio.sleep(self._timetable.pause())
            try:
                await self.look()
            except StorageUnavailable:
                _log.warning("housekeeping_failed")
            except Exception:  # noqa: BLE001
                _log.exception("housekeeping_fault")

    async def look(self) -> str | None:
        """Look once; return the id of the run that was begun, if one was. Raises as ``HousekeepingStarts.start``."""
        async with self._storage.read() as tx:
            passes = await tx.housekeeping.passes()
            sizes = None if self._observer is None else await tx.housekeeping.sizes()
        if self._observer is not None and sizes is not None:
            self._observer.sized(sizes)
            if passes.completed_at is not None:
                self._observer.completed(passes.completed_at)
        if not self._timetable.is_due(passes, self._clock()):
            return None
        # Whoever else looks now finds the one before the same, or the one that is begun here.
        later = _FIRST if passes.began_at is None else passes.began_at + timedelta(microseconds=1)
        run_id = await self._starts.start(earlier_than=later)
        if run_id is not None:
            _log.info("housekeeping_started", extra={"run_id": run_id})
        return run_id
