"""Slots that all replicas share: leases in Redis, which end by themselves where their process does."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from chatter_grpc.adapters.redis.connection import RedisAway, RedisLink
from chatter_grpc.core.limits import Slots

LEASE_SECONDS: Final = 30.0
RENEWALS: Final = 3
# Leases renewed in one trip, so that none holds Redis up.
CHUNK: Final = 500

# A sorted set for each key: the leases, each with the time of its end by the clock of Redis, in milliseconds.
_NOW: Final = """
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""
_TAKE: Final = f"""
    {_NOW}
    redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
    if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then
        return 0
    end
    redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[3])
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
    return 1
"""
# Also brings back the leases that a Redis which was emptied has lost.
_RENEW: Final = f"""
    {_NOW}
    for i, key in ipairs(KEYS) do
        redis.call('ZADD', key, now + ARGV[1], ARGV[i + 1])
        redis.call('PEXPIRE', key, ARGV[1])
    end
"""


class RedisSlots:
    """Counts in Redis, and in ``local`` what this process holds: the limit of each process while Redis is away."""

    def __init__(self, link: RedisLink, local: Slots, lease_seconds: float = LEASE_SECONDS) -> None:
        self._link = link
        self._local = local
        self._lease = lease_seconds
        self._take = link.client.register_script(_TAKE)
        self._renew = link.client.register_script(_RENEW)
        # The key in Redis of each slot that is held here.
        self._held: dict[str, str] = {}

    async def take(self, key: str, amount: int) -> str | None:
        """See ``Slots``."""
        slot = await self._local.take(key, amount)
        if slot is None:
            return None
        name = f"{self._link.namespace}slots:{key}"
        arguments = [str(amount), str(round(self._lease * 1000)), slot]
        # Before it is asked for: a lease that was taken while the answer was lost is then freed like any other.
        self._held[slot] = name
        try:
            taken: Any = await self._link.call(lambda _: self._take(keys=[name], args=arguments))
        except RedisAway:
            return slot
        except asyncio.CancelledError:
            await self.free(key, slot)
            raise
        if taken:
            return slot
        del self._held[slot]
        await self._local.free(key, slot)
        return None

    async def free(self, key: str, slot: str) -> None:
        """See ``Slots``."""
        await self._local.free(key, slot)
        name = self._held.pop(slot, None)
        if name is not None:
            try:
                await self._remove(slot, name)
            except RedisAway:
                # It is not renewed any more.
                return

    async def run(self) -> None:
        """See ``Slots``."""
        while True:
            await asyncio.sleep(self._lease / RENEWALS)
            await self.renew()

    async def renew(self) -> None:
        """Prolong the leases of all slots that are held here; while Redis is away there is nothing to prolong."""
        held = tuple(self._held.items())
        try:
            for start in range(0, len(held), CHUNK):
                await self._renew_chunk(held[start : start + CHUNK])
        except RedisAway:
            return

    async def _renew_chunk(self, held: Sequence[tuple[str, str]]) -> None:
        slots = [slot for slot, _ in held]
        names = [name for _, name in held]
        arguments = [str(round(self._lease * 1000)), *slots]
        await self._link.call(lambda _: self._renew(keys=names, args=arguments))
        # What was freed while its renewal was under way may have come back behind that.
        for slot, name in held:
            if slot not in self._held:
                await self._remove(slot, name)

    async def _remove(self, slot: str, name: str) -> None:
        await self._link.call(lambda client: client.zrem(name, slot))
