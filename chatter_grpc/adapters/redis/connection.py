"""The way to Redis: short deadlines, and a breaker, so that a Redis that is away costs calls no time."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

_log = logging.getLogger(__name__)
Result = TypeVar("Result")

# What a Redis that is not there, not well or not ours to use looks like.
FAULTS: Final = (RedisError, OSError, TimeoutError)


class RedisAway(Exception):
    """Redis did not answer, or did not a moment ago."""


class RedisUrlRefused(Exception):
    """The address of Redis is none; the message says why and does not hold the address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisOptions:
    """How long to wait for Redis, in seconds.

    ``deadline`` bounds each command, with the wait for a connection and the making of one. ``probe`` is how often
    Redis is asked for a sign of life, and so how soon it is noticed that it is back. After ``patience`` commands in a
    row that found no answer in time, and no answer to any other meanwhile, nobody waits any more; a refused connection
    is believed at once.
    """

    deadline: float = 0.1
    probe: float = 1.0
    patience: int = 3
    connections: int = 32


class RedisLink:
    """One process's way to one Redis. ``namespace`` begins every key and channel; two installations may share a Redis.

    While Redis is away ``call`` raises without waiting; ``run`` finds out when it is back. Each change is logged once.
    """

    def __init__(self, url: str, namespace: str, options: RedisOptions | None = None) -> None:
        self.namespace = namespace
        self.options = options or RedisOptions()
        try:
            self._pool = _make_pool(url, self.options.connections)
            # Makes no connection, but takes the arguments of one.
            self._pool.make_connection()  # type: ignore[no-untyped-call]
        except (ValueError, TypeError):
            # What exactly is wrong with it may be a part of its password.
            raise RedisUrlRefused("expected redis://, rediss:// or unix://, and no option that there is not") from None
        self._client = Redis(connection_pool=self._pool)
        self._misses = 0
        self._answered_at = 0.0
        self._available: bool | None = None

    @property
    def available(self) -> bool:
        """Whether Redis answered when it was asked last."""
        return self._available is True

    @property
    def client(self) -> "Redis":
        """The client, for what has deadlines of its own."""
        return self._client

    async def call(self, work: Callable[["Redis"], Awaitable[Result]]) -> Result:
        """Do ``work``, which is to be one round trip; raises ``RedisAway``."""
        if not self._available:
            raise RedisAway
        return await self._attempt(work)

    async def check(self) -> None:
        """Ask for a sign of life, and take the answer for the state of Redis."""
        try:
            await self._attempt(_ping)
        except RedisAway:
            return
        if not self._available:
            if self._available is not None:
                _log.warning("redis_back")
            self._available = True

    async def run(self) -> None:
        """Check again and again until cancelled."""
        while True:
            await self.check()
            await asyncio.sleep(self.options.probe)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()
        await self._pool.aclose()

    async def _attempt(self, work: Callable[["Redis"], Awaitable[Result]]) -> Result:
        try:
            async with asyncio.timeout(self.options.deadline):
                result = await work(self._client)
        except FAULTS as error:
            self._miss(error)
            raise RedisAway from error
        self._misses = 0
        self._answered_at = time.monotonic()
        return result

    def _miss(self, error: Exception) -> None:
        self._misses += 1
        # Late answers may be this process's own fault, where its loop was held up or has much to do at once.
        recent = time.monotonic() - self._answered_at < self.options.deadline
        excused = isinstance(error, TimeoutError) and (self._misses < self.options.patience or recent)
        if self._available is False or (excused and self._available):
            return
        self._available = False
        _log.warning("redis_lost", extra={"cause": type(error).__name__})


async def _ping(client: "Redis") -> object:
    answer: Awaitable[Any] = client.ping()
    return await answer


def _make_pool(url: str, connections: int) -> BlockingConnectionPool:
    return BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        # The link's deadline bounds all of these, and its breaker decides what happens next.
        timeout=None,
        socket_timeout=None,
        socket_connect_timeout=None,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        # Telling Redis our version takes a trip for each connection, and a look at the disk.
        driver_info=None,
    )
