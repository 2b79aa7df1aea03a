"""Two servers on one PostgreSQL and one Redis are one service, and stay up when either goes away (T18, T19, T20)."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from redis.asyncio import Redis

from tests.support.openai_plans import Plan
from tests.support.outages import OwnPostgres, own_postgres
from tests.support.provider import Provider, eventually, until
from tests.support.redis_server import OwnRedis, redis_server
from tests.support.served import DEADLINE, Account, Client, Served, served, signed_in, written

CALLS, STREAMS = 40, 3
# Long enough that no answer of a busy machine comes too late, and short enough to wait for one that does not come.
MILLISECONDS = 1_000
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture(scope="module")
def postgres() -> Iterator[OwnPostgres]:
    with own_postgres() as postgres:
        yield postgres


@pytest.fixture(scope="module")
def redis() -> Iterator[OwnRedis]:
    with redis_server() as redis:
        yield redis


@pytest.fixture(scope="module")
def servers(
    tmp_path_factory: pytest.TempPathFactory,
    provider_settings: dict[str, str],
    postgres: OwnPostgres,
    redis: OwnRedis,
) -> Iterator[tuple[Served, Served]]:
    settings = {
        **provider_settings,
        "database_url": postgres.url,
        "database_seconds": "2",
        "redis_url": redis.url,
        "redis_milliseconds": str(MILLISECONDS),
        "read_calls_per_minute": str(CALLS),
        "streams_per_caller": str(STREAMS),
    }
    with (
        served(tmp_path_factory.mktemp("one"), **settings) as one,
        served(tmp_path_factory.mktemp("two"), **settings) as two,
    ):
        yield one, two


@dataclass(frozen=True, slots=True)
class Both:
    """A client of each server, with the same credentials."""

    one: Client
    two: Client
    account: Account

    def __iter__(self) -> Iterator[Client]:
        return iter((self.one, self.two))

    def trusting(self, token: str) -> "Both":
        """The same with other credentials."""
        return Both(self.one.trusting(token), self.two.trusting(token), self.account)


@pytest.fixture
async def both(servers: tuple[Served, Served]) -> AsyncIterator[Both]:
    """An account of the test's own, on both servers."""
    async with AsyncExitStack() as stack:
        one, two = [await stack.enter_async_context(server.connect()) for server in servers]
        account = await signed_in(one)
        yield Both(account.client, two.trusting(account.tokens.access_token), account)


async def health_of(client: Client) -> int:
    """Ask a server for its health."""
    request = health_pb2.HealthCheckRequest(service="")
    return int((await health_pb2_grpc.HealthStub(client.channel).Check(request, timeout=DEADLINE)).status)


async def allowed(both: Both, calls: int) -> int:
    """Make calls of one class on both servers at once, and return how many were let through."""
    clients = [(both.one, both.two)[number % 2] for number in range(calls)]
    reasons = await asyncio.gather(*(client.reason("GetServerInfo") for client in clients))
    assert set(reasons) <= {"", "RATE_LIMITED"}
    return reasons.count("")


def told(server: Served) -> list[str]:
    """What a server has logged of its Redis, in order."""
    lines = [*server.logged("redis_lost"), *server.logged("redis_back")]
    return [line["event"] for line in sorted(lines, key=lambda line: str(line["timestamp"]))]


async def has_told(servers: tuple[Served, Served], event: str) -> None:
    """Return once the last word of both servers about Redis is this one."""
    await until(lambda: all(told(server)[-1:] == [event] for server in servers))


@pytest.mark.platform("T19")
async def test_a_caller_has_one_limit_on_both(both: Both) -> None:
    assert await allowed(both, 2 * CALLS) == CALLS
    for client in both:
        assert await client.reason("GetServerInfo") == "RATE_LIMITED"


@pytest.mark.platform("T19")
async def test_a_caller_has_so_many_streams_on_both(both: Both, provider: Provider) -> None:
    gate = provider.hold(after=1, text="one two")
    conversation = await both.one.conversation()
    sent = await both.one.send(conversation.id, "Hello").until(written(1))
    streams = [sent, both.two.open("WatchRun", run_id=sent.run_id), both.two.open("WatchRun", run_id=sent.run_id)]
    for stream in streams:
        await stream.until(written(1))
    for client in both:
        refused = await client.call("WatchRun", run_id=sent.run_id)
        assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS")
        assert refused.trailing["grpc-retry-pushback-ms"] == "1000"
    streams.pop().leave()

    async def is_let_in() -> bool:
        stream = both.one.open("WatchRun", run_id=sent.run_id)
        try:
            return await stream.read()
        except grpc.aio.AioRpcError:
            return False
        finally:
            stream.leave()

    await eventually(is_let_in)
    gate.open()
    assert {(await stream.to_end()).reason for stream in streams} == {""}


@pytest.mark.platform("T18", "T19")
async def test_credentials_that_both_have_cached_are_revoked_on_both(
    servers: tuple[Served, Served], both: Both
) -> None:
    """T18: what each remembers of credentials that it has verified ends when they are revoked, wherever that is."""
    text = await servers[0].api_key(both.account.user.username, "chat:read")
    keyed = both.trusting(text)
    for client in keyed:
        assert [await client.reason("GetMe") for _ in range(2)] == ["", ""]
    async with servers[1].accounts() as accounts:
        await accounts.revoke_api_key(text.split("_")[1])
    for client in keyed:

        async def is_refused(client: Client = client) -> bool:
            return await client.reason("GetServerInfo") == "API_KEY_INVALID"

        await eventually(is_refused)
    await both.one.ok("Logout")

    async def is_out() -> bool:
        return await both.two.reason("GetServerInfo") == "SESSION_REVOKED"

    await eventually(is_out)


@pytest.mark.platform("T20")
async def test_news_of_a_run_on_one_goes_by_redis_to_the_other(redis: OwnRedis, both: Both, provider: Provider) -> None:
    async with Redis.from_url(redis.url) as client:
        await client.config_resetstat()
        provider.plan(Plan(text="one two three"))
        conversation = await both.one.conversation()
        stream = await both.one.ask(conversation.id, "Hello")
        there = both.two.open("WatchRun", run_id=stream.run_id)
        assert ((await there.to_end()).reason, there.text) == ("", "one two three")
        published = await client.info("commandstats")
        channels: Any = await client.pubsub_channels()
        (channel,) = channels
        assert channel.startswith(b"chatter:")
        assert dict(await client.pubsub_numsub(channel))[channel] == 2
    assert published["cmdstat_publish"]["calls"] > 0


@pytest.mark.platform("T20")
async def test_nothing_is_lost_with_a_redis_that_is_killed(
    servers: tuple[Served, Served], redis: OwnRedis, both: Both, provider: Provider
) -> None:
    """T20: streams go on, calls are answered, each server counts for itself; then they count together again."""
    before = [told(server) for server in servers]
    gate = provider.hold(after=2, text="one two three four")
    conversation = await both.one.conversation()
    sent = await both.one.send(conversation.id, "Hello").until(written(2))
    there = await both.two.open("WatchRun", run_id=sent.run_id).until(written(2))
    redis.kill()
    await has_told(servers, "redis_lost")
    assert CALLS < await allowed(both, 4 * CALLS) <= 2 * CALLS
    assert await both.two.reason("CreateConversation") == ""
    for client in both:
        assert await health_of(client) == SERVING
    gate.open()
    assert [(await stream.to_end()).reason for stream in (sent, there)] == ["", ""]
    assert (sent.text, there.text) == ("one two three four", "one two three four")
    redis.start()
    await has_told(servers, "redis_back")
    assert await allowed(both, 2 * CALLS) == CALLS
    assert [told(server) for server in servers] == [[*heard, "redis_lost", "redis_back"] for heard in before]


@pytest.mark.platform("T20")
async def test_a_redis_that_is_emptied_costs_counts_and_nothing_else(
    redis: OwnRedis, both: Both, provider: Provider
) -> None:
    gate = provider.hold(after=2, text="one two three four")
    conversation = await both.one.conversation()
    sent = await both.one.send(conversation.id, "Hello").until(written(2))
    assert await allowed(both, 2 * CALLS) == CALLS
    async with Redis.from_url(redis.url) as client:
        await client.flushall()
    there = both.two.open("WatchRun", run_id=sent.run_id)
    gate.open()
    assert [(await stream.to_end()).reason for stream in (sent, there)] == ["", ""]
    assert (sent.text, there.text) == ("one two three four", "one two three four")
    assert 0 < await allowed(both, 2 * CALLS) <= CALLS


@pytest.mark.platform("T20")
async def test_a_redis_that_hangs_holds_nobody_up(
    servers: tuple[Served, Served], redis: OwnRedis, both: Both, provider: Provider
) -> None:
    provider.plan(Plan(text="one two three"))
    conversation = await both.one.conversation()
    redis.hang()
    try:
        await has_told(servers, "redis_lost")
        stream = await both.one.ask(conversation.id, "Hello")
        there = both.two.open("WatchRun", run_id=stream.run_id)
        assert ((await there.to_end()).reason, there.text) == ("", "one two three")
    finally:
        redis.go_on()
    await has_told(servers, "redis_back")
    assert await allowed(both, 2 * CALLS) <= CALLS


@pytest.mark.platform("T20")
async def test_without_the_database_both_say_so_and_both_come_back(
    servers: tuple[Served, Served], postgres: OwnPostgres, both: Both, provider: Provider
) -> None:
    async def all_are(status: int) -> bool:
        return {await health_of(client) for client in both} == {status}

    assert await all_are(SERVING)
    postgres.stop()
    await eventually(lambda: all_are(NOT_SERVING))
    postgres.start()
    await eventually(lambda: all_are(SERVING))
    for client in both:

        async def is_answered(client: Client = client) -> bool:
            return await client.reason("GetMe") == ""

        await eventually(is_answered)
    provider.plan(Plan(text="one two three"))
    conversation = await both.one.conversation()
    stream = await both.one.ask(conversation.id, "Hello")
    there = both.two.open("WatchRun", run_id=stream.run_id)
    assert ((await there.to_end()).reason, there.text) == ("", "one two three")
