"""The wake-ups under test: those of one process, and those of several with each way between them."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from chatter_grpc.adapters.memory.wakeups import MemoryWakeUps
from chatter_grpc.adapters.redis.connection import RedisLink
from chatter_grpc.adapters.redis.wakeups import RedisCarrier
from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.adapters.sql.wakeups import PostgresCarrier
from tests.support.databases import PostgresDatabases
from tests.support.wakeups import NO_TICK, Processes, carrying, relayed


@pytest.fixture
async def memory_processes() -> AsyncIterator[Processes]:
    wakeups = MemoryWakeUps(NO_TICK)
    async with carrying(wakeups):
        yield Processes(wakeups, wakeups)


@pytest.fixture
async def redis_processes(redis_links: Callable[[], RedisLink]) -> AsyncIterator[Processes]:
    links = (redis_links(), redis_links())
    for link in links:
        await link.check()
    async with relayed([RedisCarrier(links[0])], [RedisCarrier(links[1])]) as processes:
        yield processes


@pytest.fixture
async def postgres_processes(postgres_databases: PostgresDatabases) -> AsyncIterator[Processes]:
    with postgres_databases.fresh() as url:
        async with AsyncExitStack() as stack:
            databases = (Database(url), Database(url))
            for database in databases:
                stack.push_async_callback(database.close)
            one, two = (PostgresCarrier(database) for database in databases)
            yield await stack.enter_async_context(relayed([one], [two]))


@pytest.fixture(params=["memory", "redis", "postgres"])
def processes(request: pytest.FixtureRequest) -> Processes:
    """Two processes that hear each other, where the adapter can do that."""
    processes: Processes = request.getfixturevalue(f"{request.param}_processes")
    return processes
