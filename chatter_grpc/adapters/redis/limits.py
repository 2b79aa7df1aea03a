"""Rate limits that all replicas share: exact moving windows, each decision one script and one round trip."""

from typing import Any, Final

from chatter_grpc.adapters.redis.connection import RedisAway, RedisLink
from chatter_grpc.core.limits import Decision, Limit, RateLimiter

# The times of the hits, oldest first, by the clock of Redis, which all replicas share. The `limits` library's script
# takes the time of whoever calls, and needs a second trip for what remains.
_HIT: Final = """
    local time = redis.call('TIME')
    local now = time[1] * 1000000 + time[2]
    local amount, window, cost = tonumber(ARGV[1]), ARGV[2] * 1000000, tonumber(ARGV[3])
    local oldest = redis.call('LINDEX', KEYS[1], 0)
    while oldest and tonumber(oldest) <= now - window do
        redis.call('LPOP', KEYS[1])
        oldest = redis.call('LINDEX', KEYS[1], 0)
    end
    local held = redis.call('LLEN', KEYS[1])
    local allowed = held + math.max(cost, 1) <= amount
    if allowed and cost > 0 then
        local stamp = string.format('%.0f', now)
        for _ = 1, cost do
            redis.call('RPUSH', KEYS[1], stamp)
        end
        redis.call('PEXPIRE', KEYS[1], ARGV[2] * 1000)
        held = held + cost
        oldest = oldest or stamp
    end
    local reset = window
    if oldest then
        reset = tonumber(oldest) + window - now
    end
    return {allowed and 1 or 0, amount - held, string.format('%.0f', reset)}
"""


class RedisRateLimiter:
    """Counts hits in Redis; while that is away ``fallback`` counts, for this process alone."""

    def __init__(self, link: RedisLink, fallback: RateLimiter) -> None:
        self._link = link
        self._fallback = fallback
        self._script = link.client.register_script(_HIT)

    async def hit(self, key: str, limit: Limit, cost: int = 1) -> Decision:
        """Take ``cost`` units of the limit under ``key``; a refused hit takes none."""
        try:
            return await self._decide(key, limit, cost)
        except RedisAway:
            return await self._fallback.hit(key, limit, cost)

    async def peek(self, key: str, limit: Limit) -> Decision:
        """Say whether one unit could be taken, without taking it."""
        try:
            return await self._decide(key, limit, 0)
        except RedisAway:
            return await self._fallback.peek(key, limit)

    async def clear(self, key: str, limit: Limit) -> None:
        """Forget the hits under ``key``."""
        await self._fallback.clear(key, limit)
        try:
            await self._link.call(lambda client: client.delete(self._name(key, limit)))
        except RedisAway:
            return

    async def _decide(self, key: str, limit: Limit, cost: int) -> Decision:
        arguments = [limit.amount, limit.seconds, cost]
        found: Any = await self._link.call(lambda _: self._script(keys=[self._name(key, limit)], args=arguments))
        allowed, remaining, reset = found
        return Decision(allowed=bool(allowed), remaining=remaining, reset_after=int(reset) / 1_000_000)

    def _name(self, key: str, limit: Limit) -> str:
        return f"{self._link.namespace}limit:{limit.amount}:{limit.seconds}:{key}"
