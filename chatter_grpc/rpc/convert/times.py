"""Moments and spans of time, as the contract has them."""

from datetime import datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(moment: datetime | None) -> Timestamp | None:
    """Return a moment (with a zone), ``None`` for none."""
    if moment is None:
        return None
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def duration(milliseconds: int | None) -> Duration | None:
    """Return a span of time, ``None`` for none."""
    if milliseconds is None:
        return None
    message = Duration()
    message.FromMilliseconds(milliseconds)
    return message
