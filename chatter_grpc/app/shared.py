"""Builds what replicas share: limits and wake-ups, in Redis where there is one."""

from contextlib import AsyncExitStack
from dataclasses import dataclass

from chatter_grpc.adapters.memory.limits import MemoryRateLimiter
from chatter_grpc.adapters.memory.slots import MemorySlots
from chatter_grpc.adapters.memory.wakeups import MemoryWakeUps
from chatter_grpc.adapters.redis.connection import RedisLink, RedisOptions, RedisUrlRefused
from chatter_grpc.adapters.redis.limits import RedisRateLimiter
from chatter_grpc.adapters.redis.slots import RedisSlots
from chatter_grpc.adapters.redis.wakeups import RedisCarrier
from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.adapters.sql.wakeups import PostgresCarrier
from chatter_grpc.adapters.tokens.secret import DerivedKeys
from chatter_grpc.config import ConfigurationFault, Settings
from chatter_grpc.core.background import Background
from chatter_grpc.core.limits import RateLimiter, Slots
from chatter_grpc.core.runs.relay import Carrier, RelayedWakeUps
from chatter_grpc.core.runs.wakeups import WakeUps


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What replicas share. ``link`` is the way to Redis, ``None`` where none is configured."""

    limiter: RateLimiter
    slots: Slots
    wakeups: WakeUps
    link: RedisLink | None

    def start(self, background: Background) -> None:
        """Start what keeps it going."""
        if self.link is not None:
            background.start("redis", self.link.run())
        background.start("slots", self.slots.run())
        background.start("wake-ups", self.wakeups.run())


async def open_shared(stack: AsyncExitStack, settings: Settings, keys: DerivedKeys, database: Database) -> Shared:
    """Build what replicas share; a Redis that is away is waited for by nobody. Raises ``ConfigurationFault``."""
    link = None
    limiter: RateLimiter = MemoryRateLimiter()
    slots: Slots = MemorySlots()
    carriers: list[Carrier] = []
    if settings.redis_url is not None:
        link = _link(settings.redis_url.get_secret_value(), keys.namespace, settings.redis_milliseconds / 1000)
        stack.push_async_callback(link.close)
        await link.check()
        limiter = RedisRateLimiter(link, limiter)
        slots = RedisSlots(link, slots)
        carriers.append(RedisCarrier(link))
    if not database.is_sqlite:
        carriers.append(PostgresCarrier(database))
    wakeups: WakeUps = MemoryWakeUps()
    if carriers:
        wakeups = RelayedWakeUps(wakeups, carriers)
    return Shared(limiter=limiter, slots=slots, wakeups=wakeups, link=link)


def _link(url: str, namespace: str, deadline: float) -> RedisLink:
    try:
        return RedisLink(url, f"chatter:{namespace}:", RedisOptions(deadline=deadline))
    except RedisUrlRefused as error:
        raise ConfigurationFault(f"CHATTER_REDIS_URL: {error}") from None
