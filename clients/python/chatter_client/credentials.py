"""Who calls: an API key, or a login session whose tokens are renewed by themselves."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import grpc

from chatter_client.errors import ChatterError, Unauthenticated
from chatter_client.tokens import MemoryStore, Tokens, TokenStore

Metadata = tuple[tuple[str, str], ...]

# An access token is renewed so long before its end, by this machine's clock, which may be wrong: tokens that have just
# come are taken as good for a while in any case.
MARGIN_SECONDS: Final = 30.0
# A renewal whose answer was lost is repeated; the server takes a repeat within 30 seconds for what it is.
RENEWAL_PAUSES: Final = (0.2, 1.0, 3.0)
LOCK_SECONDS: Final = 20.0
LOCK_PAUSE_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """An API key; ``subject`` names the end user that a service acts for (the key then needs the scope ``act_as``)."""

    key: str = field(repr=False)
    subject: str = ""

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for what no call can carry, such as a key with the end of its line."""
        for name, value in (("key", self.key), ("subject", self.subject)):
            if not (value.isascii() and value.isprintable()):
                raise ValueError(f"{name}: only printable ASCII characters can be sent")

    @property
    def metadata(self) -> Metadata:
        """What calls carry."""
        subject = (("x-chatter-subject", self.subject),) if self.subject else ()
        return (("authorization", f"Bearer {self.key}"), *subject)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A login session.

    The store's tokens are used, and kept there as they are renewed. Where it has none, or their time is over, and
    ``login`` (a username or an email address) is given, the client logs in.
    """

    login: str = ""
    password: str = field(default="", repr=False)
    store: TokenStore = field(default_factory=MemoryStore)


Credentials = ApiKey | Session


class Held:
    """The tokens that a client holds of a session, and whether they are still to be used."""

    def __init__(
        self, *, clock: Callable[[], float] = time.time, elapsed: Callable[[], float] = time.monotonic
    ) -> None:
        self.tokens: Tokens | None = None
        self._clock = clock
        self._elapsed = elapsed
        self._fresh_until = elapsed()

    def put(self, tokens: Tokens | None, *, fresh: bool) -> None:
        """Hold these tokens; ``fresh`` ones have just come from the server."""
        self.tokens = tokens
        self._fresh_until = self._elapsed() + (MARGIN_SECONDS if fresh else 0)

    def usable(self, refused: str = "") -> Tokens | None:
        """Return the tokens if they need no renewal; not those whose access token the server has refused."""
        tokens = self.tokens
        if tokens is None or tokens.access_token == refused:
            return None
        return tokens if self._elapsed() < self._fresh_until or not self._due(tokens, MARGIN_SECONDS) else None

    def bearable(self, refused: str = "") -> Tokens | None:
        """Return the tokens if their time is not over, for when a renewal does not succeed right now."""
        tokens = self.tokens
        return tokens if tokens and tokens.access_token != refused and not self._due(tokens, 0) else None

    def _due(self, tokens: Tokens, margin: float) -> bool:
        return self._clock() >= tokens.access_expires_at - margin


def bearer(tokens: Tokens) -> Metadata:
    """Return what calls carry."""
    return (("authorization", f"Bearer {tokens.access_token}"),)


def not_unlocked() -> ChatterError:
    """Return the error of tokens that another process holds for too long; another call may go better."""
    return ChatterError("another process holds the session's tokens", code=grpc.StatusCode.UNAVAILABLE)


def not_logged_in() -> Unauthenticated:
    """Return the error of a session that has no tokens and no password."""
    return Unauthenticated(
        "there is no session: log in", reason="CREDENTIALS_MISSING", code=grpc.StatusCode.UNAUTHENTICATED
    )
