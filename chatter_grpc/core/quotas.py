"""Quotas of messages: how many an account may have answered in a day and in a month, both by UTC."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Protocol

from chatter_grpc.core.errors import MessageQuotaExceeded
from chatter_grpc.core.users import User


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageQuota:
    """What accounts without limits of their own may do; ``None`` is any number."""

    per_day: int | None = None
    per_month: int | None = None


class MessageCountStore(Protocol):
    """Counts messages by account and day, inside a transaction."""

    async def add(self, user_id: str, day: date) -> int:
        """Count one more message and return how many the day has with it.

        Two transactions that count for one account on one day are ordered: the second waits for the first to end.
        """
        ...

    async def month(self, user_id: str, day: date) -> int:
        """Return how many messages the calendar month of ``day`` has up to that day."""
        ...


async def count_message(counts: MessageCountStore, user: User, default: MessageQuota, now: datetime) -> None:
    """Count a message of an account, its subjects' included, where a limit is in force for it.

    Raises ``MessageQuotaExceeded``, whose transaction must not be committed then: what is refused is not counted.
    """
    per_day, per_month = user.limits.messages_per_day, user.limits.messages_per_month
    per_day = default.per_day if per_day is None else per_day
    per_month = default.per_month if per_month is None else per_month
    if per_day is None and per_month is None:
        return
    today = now.astimezone(UTC).date()
    count = await counts.add(user.id, today)
    if per_month is not None and await counts.month(user.id, today) > per_month:
        next_month = (today.replace(day=1) + timedelta(days=32)).replace(day=1)
        raise MessageQuotaExceeded(period="month", limit=per_month, retry_after=_seconds_until(next_month, now))
    if per_day is not None and count > per_day:
        tomorrow = today + timedelta(days=1)
        raise MessageQuotaExceeded(period="day", limit=per_day, retry_after=_seconds_until(tomorrow, now))


def _seconds_until(day: date, now: datetime) -> float:
    return (datetime.combine(day, time(), UTC) - now).total_seconds()
