"""Moments and spans of time, as the contract has them."""

from datetime import UTC, datetime
from typing import Final, cast

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from chatter_grpc.core.errors import FieldInvalid, FieldViolation

# The longest span that the contract's language has.
MOST_SECONDS: Final = 315_576_000_000


def timestamp(moment: datetime | None) -> Timestamp | None:
    """Return a moment (with a zone), ``None`` for none."""
    if moment is None:
        return None
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def moment_of(message: Message, field: str) -> datetime | None:
    """Return the moment in a field of a message, ``None`` where it is not set.

    Raises ``FieldInvalid`` for one that is not between the years 1 and 9999, as the contract's language has it.
    """
    if not message.HasField(field):
        return None
    try:
        return cast(Timestamp, getattr(message, field)).ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise FieldInvalid([FieldViolation(field=field, description="is no moment that there is")]) from None


def duration(milliseconds: int | None) -> Duration | None:
    """Return a span of time, ``None`` for none."""
    if milliseconds is None:
        return None
    message = Duration()
    message.FromMilliseconds(milliseconds)
    return message


def milliseconds_of(span: Duration, field: str) -> int:
    """Return a span of time of more than nothing in milliseconds, rounded up; raises ``FieldInvalid`` for any other."""
    # A span whose parts have different signs is none.
    if not (0 <= span.seconds <= MOST_SECONDS and 0 <= span.nanos < 1_000_000_000) or span.seconds + span.nanos == 0:
        raise FieldInvalid([FieldViolation(field=field, description="must be more than 0 seconds, up to 10,000 years")])
    return span.seconds * 1_000 - -span.nanos // 1_000_000


def seconds_within(span: Duration, most: float, field: str) -> float:
    """Return a span of time from 0 to ``most`` seconds; raises ``FieldInvalid`` for any other."""
    seconds = span.seconds + span.nanos / 1_000_000_000
    # A span whose parts have different signs is none.
    if span.seconds < 0 or not 0 <= span.nanos < 1_000_000_000 or seconds > most:
        raise FieldInvalid([FieldViolation(field=field, description=f"must be from 0 to {most:g} seconds")])
    return seconds
