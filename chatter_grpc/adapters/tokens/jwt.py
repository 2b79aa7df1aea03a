"""Tokens as JSON Web Tokens signed with Ed25519, and nothing else (RFC 8037, RFC 8725, RFC 9068)."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import jwt

from chatter_grpc.adapters.tokens.signing_keys import KeyRing
from chatter_grpc.core.clock import Clock, utc_now
from chatter_grpc.core.errors import TokenExpired, TokenInvalid
from chatter_grpc.core.tokens import Claims, TokenKind

ALGORITHM: Final = "EdDSA"
MAX_TOKEN_LENGTH: Final = 4096
LEEWAY: Final = timedelta(seconds=5)
REQUIRED: Final = ["iss", "aud", "sub", "sid", "jti", "iat", "exp"]
# The year 10000, which `datetime` no longer knows.
END_OF_TIME: Final = 253_402_300_800


class JwtSigner:
    """Signs and verifies tokens with the keys of a ring, for one issuer and one audience."""

    def __init__(
        self,
        keys: KeyRing,
        *,
        issuer: str,
        audience: str,
        clock: Clock = utc_now,
        leeway: timedelta = LEEWAY,
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._leeway = leeway

    @property
    def kid(self) -> str:
        """The id of the key that new tokens are signed with."""
        return self._keys.kid

    async def sign(self, claims: Claims, kid: str) -> str:
        """Return the token; the same claims and key give the same bytes (RFC 8032: Ed25519 uses no randomness).

        Raises ``TokenInvalid`` where there is no key ``kid``.
        """
        key = await self._keys.private(kid)
        if key is None:
            raise TokenInvalid
        payload: dict[str, str | int] = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": claims.user_id,
            "sid": claims.session_id,
            "jti": claims.token_id,
            "iat": int(claims.issued_at.timestamp()),
            "exp": int(claims.expires_at.timestamp()),
        }
        if claims.kind is TokenKind.ACCESS:
            # As RFC 8693 has it, 4.2.
            payload["scope"] = " ".join(sorted(claims.scopes))
        return jwt.encode(payload, key, algorithm=ALGORITHM, headers={"kid": kid, "typ": str(claims.kind)})

    async def verify(self, token: str, kind: TokenKind) -> Claims:
        """Return what a token of this kind claims; raises ``TokenInvalid`` or ``TokenExpired``."""
        if len(token) > MAX_TOKEN_LENGTH:
            raise TokenInvalid
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError):
            raise TokenInvalid from None
        kid = header.get("kid")
        if header.get("typ") != kind or not isinstance(kid, str):
            raise TokenInvalid
        key = await self._keys.public(kid)
        if key is None:
            raise TokenInvalid
        try:
            payload = jwt.decode(
                token,
                key,
                # Never what the header says: whoever forges a token writes that too.
                algorithms=[ALGORITHM],
                audience=self._audience,
                issuer=self._issuer,
                # The times are checked below, by the clock that everything else goes by.
                options={
                    "require": REQUIRED,
                    "strict_aud": True,
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except (jwt.PyJWTError, ValueError):
            raise TokenInvalid from None
        claims = _claims(payload, kind)
        now = self._clock()
        if claims.issued_at > now + self._leeway:
            raise TokenInvalid
        if claims.expires_at <= now - self._leeway:
            raise TokenExpired(expired_at=claims.expires_at)
        return claims


def _claims(payload: Mapping[str, object], kind: TokenKind) -> Claims:
    return Claims(
        kind=kind,
        token_id=_text(payload["jti"]),
        session_id=_text(payload["sid"]),
        user_id=_text(payload["sub"]),
        issued_at=_moment(payload["iat"]),
        expires_at=_moment(payload["exp"]),
        scopes=_scopes(payload.get("scope")) if kind is TokenKind.ACCESS else frozenset(),
    )


def _scopes(value: object) -> frozenset[str]:
    if not isinstance(value, str):
        raise TokenInvalid
    return frozenset(value.split())


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise TokenInvalid
    return value


def _moment(value: object) -> datetime:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < END_OF_TIME:
        raise TokenInvalid
    return datetime.fromtimestamp(value, UTC)
