"""Tokens of a login session: what they claim, the pair that a session holds, and the port that signs them."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class TokenKind(StrEnum):
    """What a token is for; the value stands in its header, so that one kind never passes for the other."""

    ACCESS = "at+jwt"
    REFRESH = "rt+jwt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a token says. Both times are whole seconds in UTC; ``scopes`` are in access tokens alone."""

    kind: TokenKind
    token_id: str
    session_id: str
    user_id: str
    issued_at: datetime
    expires_at: datetime
    scopes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPair:
    """What a session holds at one time."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    access_expires_at: datetime
    refresh_expires_at: datetime


class TokenSigner(Protocol):
    """Signs and verifies tokens with the keys that all replicas share."""

    @property
    def kid(self) -> str:
        """The id of the key that new tokens are signed with."""
        ...

    async def sign(self, claims: Claims, kid: str) -> str:
        """Return the token. The same claims and key give the same bytes; a retired key still signs what it did before.

        Raises ``TokenInvalid`` where there is no key ``kid``.
        """
        ...

    async def verify(self, token: str, kind: TokenKind) -> Claims:
        """Return what a token of this kind claims.

        Raises ``TokenInvalid`` on anything that this server did not sign for this use, and ``TokenExpired``.
        """
        ...
