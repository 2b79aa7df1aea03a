"""When a call that failed before its first piece is made again, and after which pause."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from chatter_grpc.adapters.models.endpoint import EndpointConfig
from chatter_grpc.core.errors import ChatterError


class CallFailed(Exception):
    """One attempt failed: with what, whether it may pass, and the pause that the provider asks for, in seconds."""

    def __init__(self, error: ChatterError, *, may_pass: bool, retry_after: float | None = None) -> None:
        self.error = error
        self.may_pass = may_pass
        self.retry_after = retry_after
        super().__init__(type(error).__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """The bounds of repeating a call; see ``EndpointConfig`` for each."""

    max_attempts: int
    backoff_seconds: float
    backoff_max_seconds: float
    retry_after_max_seconds: float

    @classmethod
    def of(cls, endpoint: EndpointConfig) -> "Retries":
        """Take the bounds from an endpoint's configuration."""
        return cls(
            max_attempts=endpoint.max_attempts,
            backoff_seconds=endpoint.backoff_seconds,
            backoff_max_seconds=endpoint.backoff_max_seconds,
            retry_after_max_seconds=endpoint.retry_after_max_seconds,
        )

    def pause_after(self, attempt: int, failure: CallFailed) -> float | None:
        """Return the seconds to wait after attempt number ``attempt`` (from 1); ``None`` where it was the last.

        The pause is drawn evenly from nothing to a bound that doubles with each attempt ("full jitter", M. Brooker,
        "Exponential Backoff And Jitter", 2015), on top of what the provider asks for.
        """
        if not failure.may_pass or attempt >= self.max_attempts:
            return None
        asked = failure.retry_after or 0.0
        if asked > self.retry_after_max_seconds:
            return None
        # Doubling 60 times is beyond any bound, and 2.0 ** 1100 is an error.
        bound = min(self.backoff_max_seconds, self.backoff_seconds * 2.0 ** min(attempt - 1, 60))
        return asked + random.uniform(0.0, bound)  # noqa: S311 - spreads load, keeps no secret


def parse_retry_after(value: str | None, *, now: datetime) -> float | None:
    """Read a Retry-After header, seconds or an HTTP date, as seconds from now; ``None`` where it says nothing."""
    if value is None:
        return None
    value = value.strip()
    # No provider needs more digits; a huge number would overflow further on.
    if value.replace(".", "", 1).isdecimal() and value.isascii() and len(value) <= 9:
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
