"""Makes SQLAlchemy engines that are set up as Chatter uses each database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiosqlite
import asyncpg
from sqlalchemy import URL, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from chatter_grpc.adapters.sql.faults import away_as_unavailable, unreachable_as_unavailable
from chatter_grpc.adapters.sql.sqlite_driver import Deadline, OneTripConnection, open_file


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseOptions:
    """How many connections to hold, and how long to wait, in seconds.

    ``acquire_seconds`` bounds the wait for a free connection, for making one, and for SQLite's write lock;
    ``statement_seconds`` bounds each statement and commit.
    """

    pool_size: int = 10
    acquire_seconds: float = 5.0
    statement_seconds: float = 10.0


def make_sqlite_engine(
    url: URL, options: DatabaseOptions, *, read_only: bool, pool_size: int, for_migrations: bool = False
) -> AsyncEngine:
    """Return an engine for a database file, whose transactions take the write lock at once or never.

    Migrations make tables anew that others refer to, so for them foreign keys are not checked.
    """

    async def connect() -> aiosqlite.Connection:
        deadline = Deadline(options.statement_seconds)
        return await OneTripConnection(
            lambda: open_file(
                str(url.database),
                wait_seconds=options.acquire_seconds,
                deadline=deadline,
                read_only=read_only,
                check_keys=not for_migrations,
            ),
            deadline,
            "BEGIN" if read_only else "BEGIN IMMEDIATE",
        )

    return _make_engine(url, options, for_migrations, pool_size=pool_size, async_creator=connect)


def make_postgres_engine(url: URL, options: DatabaseOptions, *, for_migrations: bool = False) -> AsyncEngine:
    """Return an engine for PostgreSQL, which ends statements by itself when they take too long."""
    arguments = postgres_arguments(options)
    engine = _make_engine(url, options, for_migrations, pool_size=options.pool_size, connect_args=arguments)

    @event.listens_for(engine.sync_engine, "checkout")
    def _refuse_closed(connection: Any, record: Any, proxy: Any) -> None:
        # Known without asking the server; the pool makes another connection then.
        if connection.driver_connection.is_closed():
            raise DisconnectionError

    @event.listens_for(engine.sync_engine, "handle_error")
    def _drop_confused(context: ExceptionContext) -> None:
        # A connection of which the driver does not know what it is doing is of no use to anybody else either.
        if isinstance(context.original_exception, asyncpg.InternalClientError):
            context.is_disconnect = True

    return engine


@asynccontextmanager
async def connected(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Hold a connection, and roll back on leaving what was not committed; raises ``StorageUnavailable``."""
    stack = AsyncExitStack()
    with unreachable_as_unavailable():
        connection = await stack.enter_async_context(engine.connect())
    try:
        yield connection
    finally:
        with away_as_unavailable():
            await stack.aclose()


class KeptConnection:
    """A connection that stays out of its pool for as long as nothing goes wrong; one transaction at a time has it.

    To take SQLAlchemy's connection from a pool and put it back costs as much as SQLite needs for half of a run's start.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._connection: AsyncConnection | None = None
        self._driver: OneTripConnection | None = None
        self._held = False
        self._closing = False

    @property
    def idle(self) -> bool:
        """Whether there is one that no transaction has."""
        return self._connection is not None and not self._held

    @asynccontextmanager
    async def held(self) -> AsyncIterator[tuple[AsyncConnection, OneTripConnection]]:
        """Hold the connection, and the driver's.

        What is left as an error, and what was not committed, gives it back to its pool.
        """
        if self._connection is None or self._driver is None:
            await self._open()
        connection, driver = self._connection, self._driver
        assert connection is not None
        assert driver is not None
        self._held = True
        whole = False
        try:
            yield connection, driver
            whole = True
        finally:
            self._held = False
            # Statements of SQLAlchemy's own began a transaction of its own, which it has to see the end of.
            if self._closing or not whole or connection.in_transaction() or connection.invalidated:
                await self._give_back()

    async def _open(self) -> None:
        self._closing = False
        with unreachable_as_unavailable():
            connection = await self._engine.connect()
        self._connection = connection
        try:
            driver = (await connection.get_raw_connection()).driver_connection
            assert isinstance(driver, OneTripConnection)
            self._driver = driver
        except BaseException:
            await self._give_back()
            raise

    async def close(self) -> None:
        """Give the connection back to its pool once no transaction has it; raises ``StorageUnavailable``."""
        self._closing = True
        if not self._held:
            await self._give_back()

    async def _give_back(self) -> None:
        connection, self._connection, self._driver = self._connection, None, None
        if connection is not None:
            with away_as_unavailable():
                # It is what rolls back, so it comes to its end even if this is cancelled; the next one waits for it.
                await asyncio.shield(connection.close())


def postgres_arguments(options: DatabaseOptions) -> dict[str, Any]:
    """Return arguments for asyncpg: the server ends a statement first, the client a second later."""
    milliseconds = round(options.statement_seconds * 1000)
    return {
        "timeout": options.acquire_seconds,
        "command_timeout": options.statement_seconds + 1,
        "server_settings": {
            "application_name": "chatter",
            "jit": "off",
            "statement_timeout": str(milliseconds),
            "idle_in_transaction_session_timeout": str(2 * milliseconds),
        },
    }


def connect_arguments(url: URL, options: DatabaseOptions) -> dict[str, Any]:
    """Return arguments for a connection of asyncpg's own to the database of an URL."""
    _, arguments = url.get_dialect()().create_connect_args(url)
    # SQLAlchemy's own cache, which a raw connection does not have.
    arguments.pop("prepared_statement_cache_size", None)
    return {**arguments, **postgres_arguments(options)}


def _make_engine(url: URL, options: DatabaseOptions, for_migrations: bool, **more: Any) -> AsyncEngine:
    if not for_migrations:
        # `Document` columns read and write JSON themselves. Alembic looks into the database's own JSON.
        more |= {"json_serializer": _as_it_is, "json_deserializer": _as_it_is}
    # Parameters hold what users wrote: errors must not show them.
    return create_async_engine(url, hide_parameters=True, pool_timeout=options.acquire_seconds, max_overflow=0, **more)


def _as_it_is(text: str) -> str:
    return text
