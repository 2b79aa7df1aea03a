"""Builds what keeps house, as part of a server and for itself."""

from datetime import timedelta
from typing import Final

from chatter_grpc.adapters.sql.storage import SqlStorage
from chatter_grpc.config import Settings
from chatter_grpc.core.clock import utc_now
from chatter_grpc.core.housekeeping.duties import Retention
from chatter_grpc.core.housekeeping.housekeeper import PASS_SECONDS, Housekeeper
from chatter_grpc.core.housekeeping.observation import HousekeepingObserver, Unwatched
from chatter_grpc.core.housekeeping.schedule import HousekeepingScheduler, HousekeepingStarts, Timetable
from chatter_grpc.core.runs.supervisor import Supervisor

# A pass is over before it would be ended for taking as long as any run may.
SHARE_OF_RUN: Final = 0.8


def build_housekeeper(storage: SqlStorage, settings: Settings, observer: HousekeepingObserver | None) -> Housekeeper:
    """Build what does the work."""
    return Housekeeper(
        storage=storage,
        clock=utc_now,
        retention=Retention(
            logs=timedelta(hours=settings.compact_after_hours),
            audit=timedelta(days=settings.audit_days) if settings.audit_days else None,
        ),
        observer=observer or Unwatched(),
        time_limit=_pass_seconds(settings),
    )


def build_scheduler(
    storage: SqlStorage, supervisor: Supervisor, settings: Settings, observer: HousekeepingObserver | None
) -> HousekeepingScheduler:
    """Build what begins it when it is due."""
    timetable = Timetable(interval=settings.housekeeping_seconds, pass_seconds=_pass_seconds(settings))
    return HousekeepingScheduler(
        storage, HousekeepingStarts(storage, supervisor, utc_now), timetable, utc_now, observer
    )


def _pass_seconds(settings: Settings) -> float:
    return min(PASS_SECONDS, settings.run_seconds * SHARE_OF_RUN)
