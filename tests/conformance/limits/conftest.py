"""The limiters and slots under test."""

import pytest

from chatter_grpc.adapters.memory.limits import MemoryRateLimiter
from chatter_grpc.adapters.memory.slots import MemorySlots
from chatter_grpc.adapters.redis.connection import RedisLink
from chatter_grpc.adapters.redis.limits import RedisRateLimiter
from chatter_grpc.adapters.redis.slots import RedisSlots
from chatter_grpc.core.limits import Decision, Limit, RateLimiter, Slots


class NoLimiter:
    """What must not be asked, since Redis is there."""

    async def hit(self, key: str, limit: Limit, cost: int = 1) -> Decision:
        raise AssertionError("Redis is there")

    async def peek(self, key: str, limit: Limit) -> Decision:
        raise AssertionError("Redis is there")

    async def clear(self, key: str, limit: Limit) -> None:
        """Nothing is here that could be forgotten."""


@pytest.fixture
def memory_limiter() -> RateLimiter:
    return MemoryRateLimiter()


@pytest.fixture
async def redis_limiter(redis_link: RedisLink) -> RateLimiter:
    await redis_link.check()
    return RedisRateLimiter(redis_link, NoLimiter())


@pytest.fixture(params=["memory", "redis"])
def limiter(request: pytest.FixtureRequest) -> RateLimiter:
    """A limiter that has counted nothing."""
    limiter: RateLimiter = request.getfixturevalue(f"{request.param}_limiter")
    return limiter


@pytest.fixture
def memory_slots() -> Slots:
    return MemorySlots()


@pytest.fixture
async def redis_slots(redis_link: RedisLink) -> Slots:
    await redis_link.check()
    return RedisSlots(redis_link, MemorySlots())


@pytest.fixture(params=["memory", "redis"])
def slots(request: pytest.FixtureRequest) -> Slots:
    """Slots of which none is taken."""
    slots: Slots = request.getfixturevalue(f"{request.param}_slots")
    return slots
