"""Turns what is observed of housekeeping into metrics."""

from collections.abc import Mapping
from datetime import datetime

from chatter_grpc.adapters.metrics.registry import Metrics
from chatter_grpc.core.housekeeping.observation import Unwatched
from chatter_grpc.core.housekeeping.store import Sizes


class HousekeepingMetrics(Unwatched):
    """The ``HousekeepingObserver`` that counts."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def removed(self, rows: Mapping[str, int]) -> None:
        """See ``HousekeepingObserver``."""
        for table, number in rows.items():
            self._metrics.housekeeping_rows.labels(table).inc(number)

    def compacted(self, bytes_before: int, bytes_after: int) -> None:
        """See ``HousekeepingObserver``."""
        # A log of a few events may grow by what says that it is compacted.
        self._metrics.housekeeping_log_bytes.inc(max(bytes_before - bytes_after, 0))

    def passed(self, seconds: float) -> None:
        """See ``HousekeepingObserver``."""
        self._metrics.housekeeping_seconds.observe(seconds)

    def completed(self, at: datetime) -> None:
        """See ``HousekeepingObserver``."""
        self._metrics.housekeeping_completed.set(at.timestamp())

    def sized(self, sizes: Sizes) -> None:
        """See ``HousekeepingObserver``."""
        self._metrics.database_bytes.set(sizes.database_bytes)
        for size in sizes.tables:
            if size.rows is not None:
                self._metrics.table_rows.labels(size.table).set(size.rows)
            if size.bytes is not None:
                self._metrics.table_bytes.labels(size.table).set(size.bytes)
