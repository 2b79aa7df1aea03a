"""What housekeeping does, in its order, and from when on what is past counts as done with."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from chatter_grpc.core.conversations import PURGE_AFTER

# Longer than any token holds that was given out before a session ended, or any revocation is read back.
CREDENTIALS_KEPT: Final = timedelta(days=2)
# Whose turn it was matters among those that wait now.
TURNS_KEPT: Final = timedelta(days=1)
# So many of its own runs are kept.
OWN_RUNS_KEPT: Final = 20


class Duty(StrEnum):
    """One kind of work, named after what it removes or makes smaller."""

    LOGS = "logs"
    REQUESTS = "requests"
    CONVERSATIONS = "conversations"
    MESSAGES = "messages"
    REFRESH_TOKENS = "refresh_tokens"
    SESSIONS = "sessions"
    REVOCATIONS = "revocations"
    AUDIT = "audit"
    MESSAGE_COUNTS = "message_counts"
    OWNER_TURNS = "owner_turns"
    OWN_RUNS = "own_runs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long is kept what nobody asks for any more; ``audit`` is ``None`` where the audit log is kept for good."""

    logs: timedelta = timedelta(hours=24)
    audit: timedelta | None = timedelta(days=365)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutoffs:
    """The moments of one pass: what ended at one, or before it, is done with.

    ``day`` is the first day, written as 2026-11-22, of which messages are still counted.
    """

    now: datetime
    logs: datetime
    messages: datetime
    credentials: datetime
    turns: datetime
    audit: datetime | None
    day: str

    @classmethod
    def at(cls, now: datetime, retention: Retention) -> "Cutoffs":
        """Return the moments for a pass that begins ``now``."""
        # The month is UTC's; a day more is for servers whose clocks differ.
        month = (now - timedelta(days=1)).date().replace(day=1)
        return cls(
            now=now,
            logs=now - retention.logs,
            messages=now - PURGE_AFTER,
            credentials=now - CREDENTIALS_KEPT,
            turns=now - TURNS_KEPT,
            audit=None if retention.audit is None else now - retention.audit,
            day=month.isoformat(),
        )
