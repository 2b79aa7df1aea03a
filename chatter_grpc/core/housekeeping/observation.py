"""What can be observed of housekeeping: the port by which its progress and what it found are told."""

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from chatter_grpc.core.housekeeping.duties import Duty
from chatter_grpc.core.housekeeping.store import Sizes


class HousekeepingObserver(Protocol):
    """Hears of housekeeping. It is called in the event loop: it neither waits nor raises."""

    def began(self, duty: Duty) -> None:
        """Hear that a kind of work begins."""
        ...

    def removed(self, rows: Mapping[str, int]) -> None:
        """Hear how many rows of which tables were removed, after each portion."""
        ...

    def compacted(self, bytes_before: int, bytes_after: int) -> None:
        """Hear that the log of a run was compacted."""
        ...

    def passed(self, seconds: float) -> None:
        """Hear how long a pass took that came to its end in this process."""
        ...

    def completed(self, at: datetime) -> None:
        """Hear when the latest pass came to its end, in whatever process."""
        ...

    def sized(self, sizes: Sizes) -> None:
        """Hear how large the database is."""
        ...


class Unwatched:
    """Hears of everything and does nothing; what an observer leaves out, it takes from here."""

    def began(self, duty: Duty) -> None:
        """See ``HousekeepingObserver``."""

    def removed(self, rows: Mapping[str, int]) -> None:
        """See ``HousekeepingObserver``."""

    def compacted(self, bytes_before: int, bytes_after: int) -> None:
        """See ``HousekeepingObserver``."""

    def passed(self, seconds: float) -> None:
        """See ``HousekeepingObserver``."""

    def completed(self, at: datetime) -> None:
        """See ``HousekeepingObserver``."""

    def sized(self, sizes: Sizes) -> None:
        """See ``HousekeepingObserver``."""
