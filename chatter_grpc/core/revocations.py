"""Revocations: which sessions, keys and accounts are no longer to be trusted, known within a second everywhere."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class RevocationKind(StrEnum):
    """What was revoked: a session, a key, an account, or what an account was allowed before its role changed."""

    SESSION = "session"
    API_KEY = "api_key"
    USER = "user"
    ROLE = "role"


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """One revocation: ``target_id`` is the id of the session, key or account."""

    kind: RevocationKind
    target_id: str


class RevocationStore(Protocol):
    """An append-only list of revocations, inside a transaction."""

    async def add(self, revocations: tuple[Revocation, ...]) -> None:
        """Append revocations, timed by the database's clock."""
        ...

    async def since(self, seconds: float) -> tuple[Revocation, ...]:
        """Return the revocations of the last so many seconds by the database's clock, oldest first.

        A row's time may lie before its commit: read with an overlap greater than the longest transaction.
        """
        ...
