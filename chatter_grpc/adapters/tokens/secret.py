"""The server's secret: one value, kept in a file or given by the settings, from which every other key is derived."""

import base64
import binascii
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MIN_BYTES: Final = 32
# Random bytes have about as many distinct values as there are bytes; words and repeated characters have few.
MIN_DISTINCT: Final = 12
# Values that stand in examples and guides; anything that contains one of them was copied, not made.
WELL_KNOWN: Final = ("changeme", "change-me", "change_me", "secret", "password", "default", "example", "insecure")


class SecretRefused(Exception):
    """The server's secret is missing, or not fit to be one; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedKeys:
    """One key of 32 bytes for each purpose, so that none can stand in for another.

    ``namespace`` is no key: it tells those who share this secret from others, wherever they meet.
    """

    cursors: bytes = field(repr=False)
    page_tokens: bytes = field(repr=False)
    api_keys: bytes = field(repr=False)
    sealing: bytes = field(repr=False)
    namespace: str


def derive_keys(secret: bytes) -> DerivedKeys:
    """Derive the keys from a secret by HKDF-SHA256 (RFC 5869); the same secret always gives the same keys."""

    def derive(purpose: str) -> bytes:
        return HKDF(SHA256(), length=32, salt=None, info=f"chatter/v1/{purpose}".encode()).derive(secret)

    return DerivedKeys(
        cursors=derive("cursors"),
        page_tokens=derive("page-tokens"),
        api_keys=derive("api-keys"),
        sealing=derive("sealing"),
        namespace=derive("namespace").hex()[:16],
    )


def check_secret(text: str | None) -> bytes:
    """Return the bytes of a secret that the settings give; raises ``SecretRefused``."""
    if not text:
        raise SecretRefused(
            "CHATTER_SECRET is not set. Outside embedded mode all replicas must share one: "
            "make it with `openssl rand -base64 48` and keep it."
        )
    value = text.encode()
    advice = "Make one with `openssl rand -base64 48`."
    if len(value) < MIN_BYTES:
        raise SecretRefused(f"CHATTER_SECRET has {len(value)} bytes; it needs at least {MIN_BYTES}. {advice}")
    if len(set(value)) < MIN_DISTINCT or any(known in text.lower() for known in WELL_KNOWN):
        raise SecretRefused(f"CHATTER_SECRET is a well-known or a guessable value. {advice}")
    return value


def load_or_create_secret(path: Path, *, may_create: bool = True) -> bytes:
    """Return the secret in a file, which is made (mode 0600) where it is absent.

    ``may_create`` is false where something was made with the secret before: another one could not open it. Of several
    processes that start at once all get the same secret. Raises ``SecretRefused`` where the file is readable by others,
    belongs to somebody else, is no regular file, holds no such secret, or is absent and may not be made. Blocks: call
    it before the event loop runs.
    """
    try:
        return _read(path)
    except FileNotFoundError:
        if not may_create:
            raise SecretRefused(
                f"The secret file {path} is missing, and the database was used with it. Restore it from a backup; "
                "with another secret, nobody stays logged in and API keys stop working."
            ) from None
        _create(path)
        return _read(path)


def _create(path: Path) -> None:
    """Write a fresh secret beside ``path`` and link it there, so that no reader ever sees half of one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.b64encode(secrets.token_bytes(48)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            # Another process was first; its secret is read next.
            return
    finally:
        draft.unlink()


def _read(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SecretRefused(f"The secret file {path} cannot be read: {error.strerror}.") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise SecretRefused(f"The secret file {path} is no regular file.")
        if status.st_mode & 0o077:
            raise SecretRefused(f"Others may read the secret file {path}; take the right away with `chmod 600 {path}`.")
        if status.st_uid != os.geteuid():
            raise SecretRefused(f"The secret file {path} belongs to another user.")
        content = file.read(4096)
    try:
        value = base64.b64decode(content.strip(), validate=True)
    except binascii.Error:
        value = b""
    if len(value) < MIN_BYTES:
        raise SecretRefused(
            f"The secret file {path} is damaged. Restore it from a backup; without it, nobody stays logged in and "
            "API keys stop working."
        )
    return value
