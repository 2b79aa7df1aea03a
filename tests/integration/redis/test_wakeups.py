"""Wake-ups find their way again, and another one where there is one, when Redis or the database goes away."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack

import asyncpg
import pytest

from chatter_grpc.adapters.memory.wakeups import MemoryWakeUps
from chatter_grpc.adapters.redis.connection import RedisLink, RedisOptions
from chatter_grpc.adapters.redis.wakeups import RedisCarrier
from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.adapters.sql.engines import connect_arguments
from chatter_grpc.adapters.sql.wakeups import PAYLOAD_BYTES, PostgresCarrier, payloads
from chatter_grpc.core.ids import RUN, new_id
from chatter_grpc.core.runs.relay import MAX_WAITING, Carrier, CarrierAway, RelayedWakeUps
from tests.support.databases import PostgresDatabases
from tests.support.redis_server import OwnRedis
from tests.support.waiting import eventually
from tests.support.wakeups import carrying, hear_each_other, relayed

pytestmark = pytest.mark.platform("T20")
QUICK = RedisOptions(deadline=0.2, probe=0.02)


@pytest.fixture
async def links(own_redis: OwnRedis) -> AsyncIterator[tuple[RedisLink, RedisLink]]:
    """Two ways to a Redis that find out by themselves when it is back."""
    links = (RedisLink(own_redis.url, "chatter:", QUICK), RedisLink(own_redis.url, "chatter:", QUICK))
    probes = [asyncio.create_task(link.run()) for link in links]
    yield links
    for probe, link in zip(probes, links, strict=True):
        probe.cancel()
        await asyncio.wait((probe,))
        await link.close()


@pytest.fixture
def url(postgres_databases: PostgresDatabases) -> Iterator[str]:
    with postgres_databases.fresh() as url:
        yield url


@pytest.fixture
async def database(url: str) -> AsyncIterator[Callable[[], Database]]:
    async with AsyncExitStack() as stack:

        def make() -> Database:
            database = Database(url)
            stack.push_async_callback(database.close)
            return database

        yield make


async def test_processes_hear_each_other_again_when_redis_is_back(
    own_redis: OwnRedis, links: tuple[RedisLink, RedisLink]
) -> None:
    one, two = (RedisCarrier(link, silence=0.05) for link in links)
    async with relayed([one], [two]) as processes:
        own_redis.kill()
        processes.one.notify(("run",))
        await eventually(lambda: gone(links))
        own_redis.start()
        await hear_each_other(processes.one, processes.two)


async def test_processes_hear_each_other_again_after_redis_hung(
    own_redis: OwnRedis, links: tuple[RedisLink, RedisLink]
) -> None:
    one, two = (RedisCarrier(link, silence=0.05) for link in links)
    async with relayed([one], [two]) as processes:
        own_redis.hang()
        await eventually(lambda: gone(links))
        own_redis.go_on()
        await hear_each_other(processes.one, processes.two)


async def test_a_listener_whose_connection_is_closed_listens_again(
    own_redis: OwnRedis, links: tuple[RedisLink, RedisLink]
) -> None:
    one, two = (RedisCarrier(link) for link in links)
    async with relayed([one], [two]) as processes:
        await links[0].call(lambda client: client.client_kill_filter(_type="pubsub"))
        await hear_each_other(processes.one, processes.two)


async def test_the_database_carries_while_redis_is_away(
    own_redis: OwnRedis, links: tuple[RedisLink, RedisLink], database: Callable[[], Database]
) -> None:
    ways: list[list[Carrier]] = [[RedisCarrier(link), PostgresCarrier(database())] for link in links]
    async with relayed(ways[0], ways[1]) as processes:
        own_redis.kill()
        await eventually(lambda: gone(links))
        await hear_each_other(processes.one, processes.two)
        own_redis.start()
        await hear_each_other(processes.one, processes.two)


async def test_a_database_that_ends_its_connections_is_listened_to_again(
    database: Callable[[], Database], caplog: pytest.LogCaptureFixture
) -> None:
    one, two = PostgresCarrier(database()), PostgresCarrier(database())
    made = database()
    async with relayed([one], [two]) as processes:
        other = await asyncpg.connect(**connect_arguments(made.url, made.options))
        await other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await other.close()
        await hear_each_other(processes.one, processes.two)
    assert "wakeups" not in caplog.text


async def test_what_no_way_is_open_for_is_dropped_and_not_kept() -> None:
    sent: list[int] = []

    class Closed:
        async def send(self, run_ids: object) -> None:
            sent.append(len(list(run_ids)))  # type: ignore[call-overload]
            raise CarrierAway

        async def run(self, receive: object) -> None:
            await asyncio.Event().wait()

    wakeups = RelayedWakeUps(MemoryWakeUps(), [Closed()])
    for number in range(2 * MAX_WAITING):
        wakeups.notify((f"run_{number}", "again"))
    async with carrying(wakeups):

        async def dropped() -> bool:
            return bool(sent) and not wakeups._waiting

        await eventually(dropped)
    assert sent == [MAX_WAITING]


def test_payloads_hold_as_many_ids_as_fit_and_lose_none() -> None:
    run_ids = [new_id(RUN) for _ in range(1_000)]
    made = list(payloads(run_ids))
    assert " ".join(made).split(" ") == run_ids
    assert all(len(payload) < PAYLOAD_BYTES for payload in made)
    assert len(made) == -(-sum(len(run_id) + 1 for run_id in run_ids) // PAYLOAD_BYTES)
    assert list(payloads(())) == []


async def gone(links: tuple[RedisLink, RedisLink]) -> bool:
    return not any(link.available for link in links)
