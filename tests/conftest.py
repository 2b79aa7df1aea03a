"""What all tests may use, and what holds for all of them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack

import grpc
import pytest
from blockbuster import blockbuster_ctx
from hypothesis import settings

from chatter_grpc.adapters.redis.connection import RedisLink, RedisOptions
from chatter_grpc.adapters.sql.committer import open_committer
from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.adapters.sql.engines import DatabaseOptions
from chatter_grpc.adapters.sql.storage import SqlStorage
from chatter_grpc.core.ids import new_id
from chatter_grpc.core.runs.run import LogCommitter
from tests.support.databases import PostgresDatabases, SqliteFiles, postgres_server
from tests.support.network import NetworkGuard
from tests.support.redis_server import OwnRedis, redis_server

# How long an example takes says more about the machine than about the example.
settings.register_profile("chatter", deadline=None)
settings.load_profile("chatter")

# Functions that may block although they run in a loop, each with its reason.
MAY_BLOCK = {
    # Have a thread and a loop of their own, on which nobody else waits.
    "adapters/sql/schema.py": {"_upgrade", "_revision"},
    "adapters/sql/migrations/env.py": {"<module>"},
    # Looks for the password file that every client of PostgreSQL has, when a connection is made.
    "asyncpg/connect_utils.py": {"_parse_connect_arguments"},
    # Asks for the working directory, once, when an engine is made.
    "sqlalchemy/dialects/sqlite/pysqlite.py": {"create_connect_args"},
}


@pytest.fixture(scope="session", autouse=True)
def _nothing_blocks_the_loop() -> Iterator[None]:
    """Raise ``BlockingError`` where code of Chatter blocks an event loop (T21)."""
    with blockbuster_ctx("chatter_grpc") as detector:
        for function in detector.functions.values():
            for file, names in MAY_BLOCK.items():
                function.can_block_in(file, names)
        yield


@pytest.fixture(scope="session", autouse=True)
def _grpc_stays_up() -> Iterator[None]:
    """Keep gRPC's poller for all tests: its thread is joined where the last channel is collected, in whatever loop."""
    # gRPC asks for a current loop, which there is none of where tests ran before.
    loop = asyncio.new_event_loop()
    loop.run_until_complete(_initialise_grpc())
    yield
    grpc.aio.shutdown_grpc_aio()
    loop.close()


async def _initialise_grpc() -> None:
    grpc.aio.init_grpc_aio()


@pytest.fixture(scope="session")
def _network() -> NetworkGuard:
    return NetworkGuard()


@pytest.fixture(autouse=True)
def _stays_on_this_machine(_network: NetworkGuard) -> Iterator[None]:
    with _network.watching():
        yield


@pytest.fixture(scope="session")
def sqlite_files(tmp_path_factory: pytest.TempPathFactory) -> SqliteFiles:
    return SqliteFiles(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(scope="session")
def postgres_databases() -> Iterator[PostgresDatabases]:
    """A PostgreSQL server, started when the first test asks for it and stopped after the last."""
    with postgres_server() as host:
        yield PostgresDatabases(host)


@pytest.fixture(params=["sqlite", "postgres"])
def databases(request: pytest.FixtureRequest) -> SqliteFiles | PostgresDatabases:
    """Both kinds of database, one after the other."""
    name = "sqlite_files" if request.param == "sqlite" else "postgres_databases"
    made: SqliteFiles | PostgresDatabases = request.getfixturevalue(name)
    return made


@pytest.fixture
def database_url(databases: SqliteFiles | PostgresDatabases) -> Iterator[str]:
    """A database of the test's own, with all tables and no rows."""
    with databases.fresh() as url:
        yield url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, DatabaseOptions(pool_size=5, acquire_seconds=5, statement_seconds=5))
    yield database
    await database.close()


@pytest.fixture
async def storage(database: Database) -> SqlStorage:
    return SqlStorage(database)


@pytest.fixture
async def committer(database: Database) -> AsyncIterator[LogCommitter]:
    committer = await open_committer(database)
    yield committer
    await committer.close()


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[OwnRedis]:
    """A Redis that is there for as long as the tests are; who wants to stop one makes one."""
    with redis_server() as redis:
        yield redis


@pytest.fixture
async def redis_links(shared_redis: OwnRedis) -> AsyncIterator[Callable[[], RedisLink]]:
    """Ways to Redis with a namespace of the test's own, one for each process that it has in mind."""
    namespace = f"test:{new_id('ns')}:"
    async with AsyncExitStack() as stack:

        def make() -> RedisLink:
            link = RedisLink(shared_redis.url, namespace, RedisOptions(deadline=20))
            stack.push_async_callback(link.close)
            return link

        yield make


@pytest.fixture
def redis_link(redis_links: Callable[[], RedisLink]) -> RedisLink:
    return redis_links()
