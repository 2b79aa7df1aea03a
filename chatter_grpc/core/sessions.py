"""Login sessions: a family of refresh tokens, each used once, that ends as a whole."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A login. Its id stands in every token that it gives out."""

    id: str
    user_id: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshToken:
    """One link of a session's chain; ``id`` is the token's ``jti``.

    From the row the same signed pair can be made again (``kid`` and ``issued_at`` fix it), which answers a retried
    Refresh alike. ``rotated_at`` and ``successor_id`` are set once it was used.
    """

    id: str
    session_id: str
    kid: str
    issued_at: datetime
    expires_at: datetime
    rotated_at: datetime | None = None
    successor_id: str | None = None


class SessionStore(Protocol):
    """Keeps sessions and their refresh tokens, inside a transaction. An open session has neither ended nor expired."""

    async def add(self, session: Session, token: RefreshToken) -> None:
        """Insert a session with its first refresh token."""
        ...

    async def get(self, session_id: str) -> Session | None:
        """Return the session, or ``None``."""
        ...

    async def lock_token(self, token_id: str) -> RefreshToken | None:
        """Return a refresh token and hold its row until the transaction ends, so that uses of it are ordered."""
        ...

    async def get_token(self, token_id: str) -> RefreshToken | None:
        """Return a refresh token without holding it."""
        ...

    async def rotate(self, token_id: str, successor: RefreshToken, at: datetime) -> None:
        """Mark a held token as used, insert its successor and extend the session to the successor's expiry."""
        ...

    async def revoke(self, session_id: str, at: datetime) -> bool:
        """End a session; return whether it was open before."""
        ...

    async def revoke_all(self, user_id: str, at: datetime, *, but: str = "") -> tuple[str, ...]:
        """End all open sessions of an account, except for the one called ``but``, and return their ids."""
        ...

    async def hold_open(self, session_id: str, at: datetime) -> bool:
        """Say whether a session is open, and keep it from being ended until the transaction ends."""
        ...
