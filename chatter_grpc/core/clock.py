"""Time, as the use-cases ask for it."""

from collections.abc import Callable
from datetime import UTC, datetime

# Gives the present moment, in UTC.
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the present moment by the system's clock, in UTC."""
    return datetime.now(UTC)
