"""API keys: long-lived, scoped credentials, found by their prefix and compared as a keyed hash."""

import re
import secrets
import string
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from chatter_grpc.core.pages import Page, PageRequest

MARK: Final = "chk_"
_PREFIX_ALPHABET: Final = string.digits + string.ascii_lowercase
_SECRET_ALPHABET: Final = string.digits + string.ascii_letters
_PREFIX_LENGTH: Final = 12
# 43 characters of 62 hold 256 bits.
_SECRET_LENGTH: Final = 43
_FORM: Final = re.compile(rf"{MARK}([0-9a-z]{{{_PREFIX_LENGTH}}})_[0-9A-Za-z]{{{_SECRET_LENGTH}}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key's record; the secret itself is kept nowhere. ``expires_at`` is ``None`` on keys that do not expire."""

    id: str
    user_id: str
    name: str
    prefix: str
    key_hash: bytes = field(repr=False)
    scopes: frozenset[str]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def valid_at(self, moment: datetime) -> bool:
        """Say whether the key is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or moment < self.expires_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedApiKey:
    """A new key's record, with its text for the one time that it is shown."""

    key: ApiKey
    text: str = field(repr=False)


class ApiKeyHasher(Protocol):
    """Hashes the text of API keys under a key that only the server has."""

    def hash(self, text: str) -> bytes:
        """Return the keyed hash, 32 bytes."""
        ...


class ApiKeyStore(Protocol):
    """Keeps API keys, inside a transaction."""

    async def add(self, key: ApiKey) -> None:
        """Insert a key; its prefix is new."""
        ...

    async def find(self, prefix: str) -> ApiKey | None:
        """Return the key with this prefix, revoked or not, or ``None``."""
        ...

    async def get(self, user_id: str, key_id: str) -> ApiKey | None:
        """Return a key of an account, revoked or not, or ``None``."""
        ...

    async def list(self, user_id: str, page: PageRequest) -> Page[ApiKey]:
        """Return a page of an account's keys, revoked ones too, in order of creation."""
        ...

    async def count_valid(self, user_id: str, at: datetime) -> int:
        """Return how many keys of an account are neither revoked nor expired."""
        ...

    async def hold_valid(self, key_id: str, at: datetime) -> ApiKey | None:
        """Return a key that is neither revoked nor expired, and keep it from being revoked for the transaction."""
        ...

    async def revoke(self, key_id: str, at: datetime) -> bool:
        """Revoke a key; return whether it was valid before."""
        ...


def new_key_text() -> str:
    """Return the text of a fresh key: ``chk_<prefix>_<secret>``."""
    prefix = "".join(secrets.choice(_PREFIX_ALPHABET) for _ in range(_PREFIX_LENGTH))
    secret = "".join(secrets.choice(_SECRET_ALPHABET) for _ in range(_SECRET_LENGTH))
    return f"{MARK}{prefix}_{secret}"


def prefix_of(text: str) -> str | None:
    """Return the prefix under which a key's record is found, or ``None`` where the text has not the form of a key."""
    match = _FORM.fullmatch(text)
    return None if match is None else match[1]
