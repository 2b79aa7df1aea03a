"""Passwords hashed with Argon2id, in threads of their own, as many at once as memory and processors allow."""

import asyncio
import base64
import secrets
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import argon2
from argon2.exceptions import VerifyMismatchError

from chatter_grpc.core.errors import RateLimited

# The parameters that OWASP's cheat sheet on password storage gives for Argon2id: 19 MiB, 2 passes, 1 lane.
MEMORY_KIB: Final = 19 * 1024
PASSES: Final = 2
LANES: Final = 1
HASH_BYTES: Final = 32
SALT_BYTES: Final = 16

Result = TypeVar("Result")


class Argon2Hasher:
    """Hashes passwords off the event loop, at most ``concurrency`` at once (each takes 19 MiB and about 30 ms)."""

    def __init__(self, *, concurrency: int = 2, wait_seconds: float = 5.0) -> None:
        self._hasher = argon2.PasswordHasher(
            time_cost=PASSES,
            memory_cost=MEMORY_KIB,
            parallelism=LANES,
            hash_len=HASH_BYTES,
            salt_len=SALT_BYTES,
            type=argon2.Type.ID,
        )
        self._turns = asyncio.Semaphore(concurrency)
        self._threads = ThreadPoolExecutor(max_workers=concurrency, thread_name_prefix="password")
        self._wait_seconds = wait_seconds
        self._nobodys_hash = _hash_of_nothing()

    async def hash(self, password: str) -> str:
        """Return a salted hash that names its own parameters; raises ``RateLimited`` where no turn comes in time."""
        return await self._in_thread(lambda: self._hasher.hash(_normal(password)))

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Say whether the password fits; without a hash it never does, and takes as long to say so.

        Raises ``RateLimited`` where no turn comes in time.
        """
        return await self._in_thread(lambda: self._fits(password, password_hash or self._nobodys_hash))

    def needs_rehash(self, password_hash: str) -> bool:
        """Say whether the hash was made with other parameters than new ones are."""
        return self._hasher.check_needs_rehash(password_hash)

    async def close(self) -> None:
        """Let the threads end; hashing that has begun is finished."""
        await asyncio.to_thread(self._threads.shutdown)

    def _fits(self, password: str, password_hash: str) -> bool:
        try:
            return self._hasher.verify(password_hash, _normal(password))
        except VerifyMismatchError:
            return False

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._turns.acquire()
        except TimeoutError:
            raise RateLimited(limit_class="password", retry_after=1.0) from None
        # The turn ends with the work, not with the wait for it: a caller that leaves does not make room for another.
        future = self._threads.submit(work)
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._turns.release))
        return await asyncio.wrap_future(future)


def _normal(password: str) -> str:
    """Return the password in Unicode's form NFC, so that it fits from every keyboard (RFC 8265, 4.2)."""
    return unicodedata.normalize("NFC", password)


def _hash_of_nothing() -> str:
    """Return a hash with the parameters of real ones that no password has, without the work of hashing."""
    salt, digest = (
        base64.b64encode(secrets.token_bytes(size)).decode().rstrip("=") for size in (SALT_BYTES, HASH_BYTES)
    )
    return f"$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${digest}"
