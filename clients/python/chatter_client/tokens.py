"""The tokens of a login session, and where they are kept."""

import fcntl
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from chatter_client._gen.chatter.v1 import auth_service_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What a session holds at one time; times are seconds since 1970."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    access_expires_at: float
    refresh_expires_at: float

    @classmethod
    def read(cls, pair: auth_service_pb2.TokenPair) -> "Tokens":
        """Return the tokens of a response."""
        return cls(
            access_token=pair.access_token,
            refresh_token=pair.refresh_token,
            access_expires_at=pair.access_expire_time.ToNanoseconds() / 1e9,
            refresh_expires_at=pair.refresh_expire_time.ToNanoseconds() / 1e9,
        )


class TokenStore(Protocol):
    """Keeps the tokens of one session, for one process or for several. Its methods may be called on any thread."""

    def load(self) -> Tokens | None:
        """Return the tokens that are kept, ``None`` where there are none."""
        ...

    def save(self, tokens: Tokens | None) -> None:
        """Keep these tokens instead, or none."""
        ...

    def try_lock(self) -> bool:
        """Take the lock that whoever renews the tokens holds; ``False`` where somebody else has it.

        A refresh token works once, so two processes that share a session are not to renew it at the same time.
        """
        ...

    def unlock(self) -> None:
        """Give the lock back."""
        ...


class MemoryStore:
    """Keeps tokens for as long as the object lives."""

    def __init__(self, tokens: Tokens | None = None) -> None:
        self._tokens = tokens

    def load(self) -> Tokens | None:
        """See ``TokenStore``."""
        return self._tokens

    def save(self, tokens: Tokens | None) -> None:
        """See ``TokenStore``."""
        self._tokens = tokens

    def try_lock(self) -> bool:
        """Return ``True``: nobody else has this store."""
        return True

    def unlock(self) -> None:
        """See ``TokenStore``."""


class FileStore:
    """Keeps tokens in a file that is its user's alone (mode 0600, in a directory that is made with mode 0700).

    A file that cannot be read as tokens counts as none; one that others may read is taken from them. Several processes
    may share it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: int | None = None

    def load(self) -> Tokens | None:
        """See ``TokenStore``."""
        try:
            with self._path.open() as file:
                if os.fstat(file.fileno()).st_mode & 0o077:
                    os.fchmod(file.fileno(), 0o600)
                found: Any = json.load(file)
            return Tokens(**found)
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def save(self, tokens: Tokens | None) -> None:
        """See ``TokenStore``."""
        if tokens is None:
            self._path.unlink(missing_ok=True)
            return
        self._make_directory()
        partial = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(asdict(tokens), file)
        partial.replace(self._path)

    def try_lock(self) -> bool:
        """See ``TokenStore``."""
        self._make_directory()
        handle = os.open(self._path.with_name(f"{self._path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        self._lock = handle
        return True

    def unlock(self) -> None:
        """See ``TokenStore``."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _make_directory(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
