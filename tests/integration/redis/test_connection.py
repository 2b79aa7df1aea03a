"""The way to Redis gives up soon, says so once, costs nothing while Redis is away, and mends itself."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from chatter_grpc.adapters.memory.limits import MemoryRateLimiter
from chatter_grpc.adapters.redis.connection import RedisAway, RedisLink, RedisOptions, RedisUrlRefused
from chatter_grpc.adapters.redis.limits import RedisRateLimiter
from chatter_grpc.core.limits import Limit
from tests.support.redis_server import OwnRedis
from tests.support.waiting import eventually

TEN = Limit(amount=10, seconds=60)
QUICK = RedisOptions(deadline=0.2, probe=0.02)
PATIENT = RedisOptions(deadline=20)

pytestmark = pytest.mark.platform("T20")


@asynccontextmanager
async def linked(url: str, options: RedisOptions = PATIENT) -> AsyncIterator[RedisLink]:
    """A link that was checked once."""
    link = RedisLink(url, "chatter:", options)
    await link.check()
    yield link
    await link.close()


@asynccontextmanager
async def probing(link: RedisLink) -> AsyncIterator[None]:
    """Have the link look for Redis by itself."""
    task = asyncio.create_task(link.run())
    yield
    task.cancel()
    await asyncio.wait((task,))


async def ping(client: "Redis") -> object:
    answer: Awaitable[Any] = client.ping()
    return await answer


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name.endswith("redis.connection")]


async def test_a_redis_that_is_killed_is_noticed_once_and_found_again(
    own_redis: OwnRedis, caplog: pytest.LogCaptureFixture
) -> None:
    async with linked(own_redis.url, QUICK) as link, probing(link):
        assert link.available
        own_redis.kill()
        for _ in range(20):
            with pytest.raises(RedisAway):
                await link.call(ping)
        assert said(caplog) == ["redis_lost"]
        own_redis.start()

        async def back() -> bool:
            return link.available

        await eventually(back)
        assert await link.call(ping)
    assert said(caplog) == ["redis_lost", "redis_back"]


async def test_a_redis_that_hangs_is_waited_for_a_few_times_and_then_no_more(own_redis: OwnRedis) -> None:
    async with linked(own_redis.url, QUICK) as link:
        sent = 0

        async def counted(client: "Redis") -> object:
            nonlocal sent
            sent += 1
            return await ping(client)

        own_redis.hang()
        try:
            for _ in range(50):
                with pytest.raises(RedisAway):
                    await link.call(counted)
        finally:
            own_redis.go_on()
        assert sent == QUICK.patience
        await link.check()
        assert link.available


async def test_one_late_answer_is_not_yet_the_loss_of_redis(own_redis: OwnRedis) -> None:
    async with linked(own_redis.url, QUICK) as link:
        with pytest.raises(RedisAway):
            await link.call(lambda _: asyncio.sleep(60))
        assert link.available
        assert await link.call(ping)


async def test_many_late_answers_are_no_loss_while_others_come_in_time(own_redis: OwnRedis) -> None:
    """As in a burst of more calls than fit into the deadline."""
    async with linked(own_redis.url, RedisOptions(deadline=2)) as link:
        late = asyncio.gather(*(link.call(lambda _: asyncio.sleep(60)) for _ in range(10)), return_exceptions=True)
        while not late.done():
            assert await link.call(ping)
            await asyncio.sleep(0.001)
        assert {type(each) for each in await late} == {RedisAway}
        assert link.available


async def test_an_answer_that_came_too_late_is_not_taken_for_another_ones(own_redis: OwnRedis) -> None:
    async with linked(own_redis.url, RedisOptions(deadline=0.2, connections=1)) as link:
        assert await link.call(lambda client: client.set("late", "wrong"))
        own_redis.hang()
        with pytest.raises(RedisAway):
            await link.call(lambda client: client.get("late"))
        own_redis.go_on()
        async with linked(own_redis.url) as other:
            assert await other.call(lambda client: client.set("right", "right"))
        assert await link.call(lambda client: client.get("right")) == b"right"


async def test_a_server_may_start_before_its_redis(own_redis: OwnRedis) -> None:
    own_redis.kill()
    async with linked(own_redis.url, QUICK) as link:
        assert not link.available
        own_redis.start()
        await link.check()
        assert link.available


@pytest.mark.parametrize("url", ["http://localhost:6379", "redis://:pa/ss@host:port/0", "redis://host?colour=red", ""])
def test_what_is_no_address_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(RedisUrlRefused) as refused:
        RedisLink(url, "chatter:")
    assert not url or url not in str(refused.value)
    assert "pa" not in str(refused.value).split()


async def test_the_log_names_neither_address_nor_password(caplog: pytest.LogCaptureFixture) -> None:
    async with linked("redis://user:planted-password@127.0.0.1:1/0", QUICK) as link:
        assert not link.available
    assert "planted" not in caplog.text
    assert all("planted" not in str(vars(record)) for record in caplog.records if record.levelno >= logging.DEBUG)


async def test_limits_are_counted_here_while_redis_is_away_and_there_again_when_it_is_back(own_redis: OwnRedis) -> None:
    async with linked(own_redis.url) as link:
        limiter = RedisRateLimiter(link, MemoryRateLimiter())
        assert [(await limiter.hit("a", TEN)).remaining for _ in range(3)] == [9, 8, 7]
        own_redis.kill()
        assert [(await limiter.hit("a", TEN)).remaining for _ in range(2)] == [9, 8]
        assert (await limiter.peek("a", TEN)).remaining == 8
        await limiter.clear("a", TEN)
        assert (await limiter.peek("a", TEN)).remaining == 10
        own_redis.start()
        await link.check()
        assert (await limiter.hit("a", TEN)).remaining == 9


async def test_a_redis_that_is_emptied_counts_anew(own_redis: OwnRedis) -> None:
    async with linked(own_redis.url) as link:
        limiter = RedisRateLimiter(link, MemoryRateLimiter())
        await limiter.hit("a", TEN, cost=10)
        assert await link.call(lambda client: client.flushall())
        assert await link.call(lambda client: client.script_flush())
        assert (await limiter.hit("a", TEN)).remaining == 9


@pytest.mark.platform("T19")
async def test_processes_share_one_count(own_redis: OwnRedis) -> None:
    async with linked(own_redis.url) as one, linked(own_redis.url) as two:
        limiters = [RedisRateLimiter(link, MemoryRateLimiter()) for link in (one, two)]
        decisions = await asyncio.gather(*(limiters[number % 2].hit("a", TEN) for number in range(40)))
        assert sum(decision.allowed for decision in decisions) == 10
        assert [(await limiter.peek("a", TEN)).remaining for limiter in limiters] == [0, 0]


@pytest.mark.platform("T18")
async def test_windows_leave_redis_when_they_end(own_redis: OwnRedis) -> None:
    async with linked(own_redis.url) as link:
        limiter = RedisRateLimiter(link, MemoryRateLimiter())
        await limiter.hit("a", TEN)
        keys: Any = await link.call(lambda client: client.keys("*"))
        (key,) = keys
        assert key.startswith(b"chatter:limit:")
        assert 0 < await link.call(lambda client: client.pttl(key)) <= 60_000
