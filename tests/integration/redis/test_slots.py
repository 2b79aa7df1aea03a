"""Slots are shared by processes, and come back when a process ends without freeing them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from chatter_grpc.adapters.memory.slots import MemorySlots
from chatter_grpc.adapters.redis.connection import RedisLink, RedisOptions
from chatter_grpc.adapters.redis.slots import CHUNK, RedisSlots
from tests.support.redis_server import OwnRedis
from tests.support.waiting import eventually

PATIENT = RedisOptions(deadline=20)


@asynccontextmanager
async def process(redis: OwnRedis, lease_seconds: float = 60) -> AsyncIterator[tuple[RedisSlots, RedisLink]]:
    """The slots of one process."""
    link = RedisLink(redis.url, "chatter:", PATIENT)
    await link.check()
    yield RedisSlots(link, MemorySlots(), lease_seconds), link
    await link.close()


@pytest.mark.platform("T19")
async def test_processes_share_one_count(own_redis: OwnRedis) -> None:
    async with process(own_redis) as (one, _), process(own_redis) as (two, _):
        taken = await asyncio.gather(*((one, two)[number % 2].take("a", 5) for number in range(20)))
        assert sum(slot is not None for slot in taken) == 5


async def test_what_a_process_that_is_gone_held_comes_back(own_redis: OwnRedis) -> None:
    async with process(own_redis, lease_seconds=0.2) as (gone, _), process(own_redis) as (other, _):
        assert await gone.take("a", 1) is not None
        assert await other.take("a", 1) is None
        await eventually(lambda: taken(other))


async def test_what_is_held_is_kept(own_redis: OwnRedis) -> None:
    async with process(own_redis, lease_seconds=0.5) as (one, _), process(own_redis) as (two, _):
        keeping = asyncio.create_task(one.run())
        assert await one.take("a", 1) is not None
        await asyncio.sleep(1.5)
        assert await two.take("a", 1) is None
        keeping.cancel()
        await asyncio.wait((keeping,))


async def test_all_that_is_held_is_prolonged_however_much_it_is(own_redis: OwnRedis) -> None:
    async with process(own_redis, lease_seconds=600) as (one, link):
        for _ in range(CHUNK + 1):
            await one.take("a", 10_000)
        await link.call(lambda client: client.flushall())
        await one.renew()
        assert await link.call(lambda client: client.zcard("chatter:slots:a")) == CHUNK + 1


@pytest.mark.platform("T20")
async def test_a_redis_that_was_emptied_learns_again_what_is_held(own_redis: OwnRedis) -> None:
    async with process(own_redis) as (one, link), process(own_redis) as (two, _):
        slot = await one.take("a", 1)
        assert slot is not None
        await link.call(lambda client: client.flushall())
        await one.renew()
        assert await two.take("a", 1) is None
        await one.free("a", slot)
        await one.renew()
        assert await two.take("a", 1) is not None


@pytest.mark.platform("T20")
async def test_each_process_counts_for_itself_while_redis_is_away(own_redis: OwnRedis) -> None:
    async with process(own_redis) as (one, link), process(own_redis) as (two, other):
        before = await one.take("a", 2)
        assert before is not None
        own_redis.kill()
        assert await one.take("a", 2) is not None
        # What was taken while Redis was there counts on.
        assert await one.take("a", 2) is None
        assert await two.take("a", 2) is not None
        await one.free("a", before)
        assert await one.take("a", 2) is not None
        own_redis.start()
        for each in (link, other):
            await each.check()
        await one.renew()
        await two.renew()
        # Three are held together now: more than there are, until they end.
        assert await two.take("a", 3) is None
        assert await two.take("a", 4) is not None


async def test_slots_leave_redis_when_the_last_is_freed(own_redis: OwnRedis) -> None:
    async with process(own_redis) as (one, link):
        slot = await one.take("a", 1)
        assert slot is not None
        await one.free("a", slot)
        assert await link.call(lambda client: client.dbsize()) == 0


async def taken(slots: RedisSlots) -> bool:
    return await slots.take("a", 1) is not None
