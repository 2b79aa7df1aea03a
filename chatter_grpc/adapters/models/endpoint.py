"""The configuration of one OpenAI-compatible endpoint."""

import re
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import urlsplit

_PROVIDER: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,49}")
_MODEL: Final = re.compile(r"[!-~]{1,149}")
_KEY: Final = re.compile(r"[!-~]*")
_OPENAI_HOSTS: Final = ("api.openai.com", ".openai.azure.com")

TokenLimitField = Literal["max_tokens", "max_completion_tokens"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointConfig:
    """Where a provider is, what it offers, and how long it is waited for. All times are in seconds.

    Raises ``ValueError`` where a value cannot work; no message shows the key.
    """

    provider: str
    """The part of its models' names before the slash: lower-case letters, digits, ``_`` and ``-``."""
    base_url: str
    """The address that ``/chat/completions`` is appended to, such as ``https://api.openai.com/v1``."""
    api_key: str = field(default="", repr=False)
    """Sent as a bearer token; empty for an endpoint that asks for none."""
    models: tuple[str, ...]
    """The models offered, by the names that the endpoint knows them by; a name may contain slashes."""
    token_limit_field: TokenLimitField | None = None
    """How the endpoint calls the limit of an answer's tokens.

    ``None``: ``max_completion_tokens`` at OpenAI's own addresses, whose newer models know no other name, and
    ``max_tokens`` elsewhere.
    """
    connect_seconds: float = 5.0
    """Until a connection is there, the wait for a free place in the pool included."""
    first_token_seconds: float = 60.0
    """From the request until the first piece of text or reasoning."""
    idle_seconds: float = 30.0
    """Between two events after the first piece; comments that keep the connection alive do not count."""
    max_attempts: int = 3
    """Calls before the first piece, the first one included."""
    backoff_seconds: float = 0.25
    """The longest pause after the first failed attempt; it doubles with each further one."""
    backoff_max_seconds: float = 4.0
    """No pause of our own is longer."""
    retry_after_max_seconds: float = 10.0
    """A provider that asks for a longer pause is not asked again; the caller is told how long instead."""
    max_event_bytes: int = 4 * 1024 * 1024
    """A longer event of the stream breaks it."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if not _PROVIDER.fullmatch(self.provider):
            raise ValueError(f"provider {self.provider!r}: use up to 50 of a-z, 0-9, _ and -")
        self._check_address()
        if not _KEY.fullmatch(self.api_key):
            raise ValueError(f"provider {self.provider}: api_key is to be printable ASCII without spaces")
        for name in self.models:
            if not _MODEL.fullmatch(name):
                raise ValueError(f"provider {self.provider}: {name!r} is no name of a model")
        if len(set(self.models)) != len(self.models):
            raise ValueError(f"provider {self.provider}: a model is listed twice")
        self._check_numbers()

    def _check_address(self) -> None:
        url = urlsplit(self.base_url)
        if url.username is not None or url.password is not None:
            raise ValueError(f"provider {self.provider}: base_url is not the place for credentials")
        try:
            # A port that is none, and a host that DNS cannot hold, raise ValueError.
            fits = bool(url.hostname) and url.port != 0 and bool((url.hostname or "").encode("idna"))
        except ValueError:
            fits = False
        if not fits or url.scheme not in {"http", "https"} or url.query or url.fragment:
            raise ValueError(f"provider {self.provider}: base_url is to be http(s)://host[:port][/path]")

    def _check_numbers(self) -> None:
        for name in ("connect_seconds", "first_token_seconds", "idle_seconds", "max_attempts", "max_event_bytes"):
            if not getattr(self, name) > 0:
                raise ValueError(f"provider {self.provider}: {name} is to be above 0")
        for name in ("backoff_seconds", "backoff_max_seconds", "retry_after_max_seconds"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"provider {self.provider}: {name} is not to be negative")

    @property
    def limit_field(self) -> TokenLimitField:
        """The request's field for the limit of an answer's tokens."""
        if self.token_limit_field is not None:
            return self.token_limit_field
        host = urlsplit(self.base_url).hostname or ""
        return "max_completion_tokens" if host.endswith(_OPENAI_HOSTS) else "max_tokens"
