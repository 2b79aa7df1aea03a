"""Signing keys: the key pairs that sign tokens, shared by all replicas through the database."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """An Ed25519 pair; ``sealed_private`` is sealed under the server's secret, ``retired_at`` ends signing with it."""

    kid: str
    public: bytes
    sealed_private: bytes
    created_at: datetime
    retired_at: datetime | None = None


class SigningKeyStore(Protocol):
    """Keeps signing keys, inside a transaction."""

    async def add_first(self, key: SigningKey) -> bool:
        """Insert ``key`` unless one that is not retired exists; return whether it was inserted.

        Of several transactions that try at once exactly one inserts.
        """
        ...

    async def rotate(self, key: SigningKey) -> None:
        """Insert ``key``, and retire all others that are not retired, at its ``created_at``.

        Of several transactions that do so at once each waits for the one before.
        """
        ...

    async def list(self) -> tuple[SigningKey, ...]:
        """Return all keys, the newest first."""
        ...
