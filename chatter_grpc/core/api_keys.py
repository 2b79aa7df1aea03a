"""API keys: long-lived, scoped credentials, found by their prefix and compared as a keyed hash."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key's record; the secret itself is kept nowhere. ``expires_at`` is ``None`` on keys that do not expire."""

    id: str
    user_id: str
    name: str
    prefix: str
    key_hash: bytes
    scopes: frozenset[str]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


class ApiKeyStore(Protocol):
    """Keeps API keys, inside a transaction."""

    async def add(self, key: ApiKey) -> None:
        """Insert a key; its prefix is new."""
        ...

    async def find(self, prefix: str) -> ApiKey | None:
        """Return the key with this prefix, revoked or not, or ``None``."""
        ...

    async def list(self, user_id: str) -> tuple[ApiKey, ...]:
        """Return an account's keys in order of creation (at most 1,000)."""
        ...

    async def revoke(self, key_id: str, at: datetime) -> bool:
        """Revoke a key; return whether it was valid before."""
        ...
