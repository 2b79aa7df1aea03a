"""One database: its engines, its transactions and what they wait for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import Pool, QueuePool

from chatter_grpc.adapters.sql.engines import (
    DatabaseOptions,
    KeptConnection,
    connected,
    make_postgres_engine,
    make_sqlite_engine,
)
from chatter_grpc.adapters.sql.statements import Statements
from chatter_grpc.adapters.sql.urls import parse_url
from chatter_grpc.core.errors import StorageUnavailable

_PING: Final = text("SELECT 1")


class Database:
    """Opens transactions on SQLite or PostgreSQL.

    On SQLite one transaction writes at a time. Within the process they queue for ``writing_turn``, which is fair among
    those that are not urgent; another process is waited for in SQLite, which polls.

    On PostgreSQL those take turns that lock the rows of many runs, each in an order of its own: the log's commits and
    what is urgent. They would wait for each other, until it finds that out after a second and breaks one off.
    """

    def __init__(self, url: str, options: DatabaseOptions | None = None) -> None:
        self.url = parse_url(url)
        self.options = options or DatabaseOptions()
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._turn = asyncio.Lock()
        # All but one of those that are not urgent wait here, so that an urgent one has no more than two before it.
        self._queue = asyncio.Lock()
        if self.is_sqlite:
            size = self.options.pool_size
            self._reader = make_sqlite_engine(self.url, self.options, read_only=True, pool_size=size)
            self._writer = make_sqlite_engine(self.url, self.options, read_only=False, pool_size=1)
            self._kept = KeptConnection(self._writer)
        else:
            self._writer = make_postgres_engine(self.url, self.options)
            # Statements of one reading transaction see one state, as they do on SQLite.
            self._reader = self._writer.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Statements]:
        """Open a transaction that reads one state of the database; raises ``StorageUnavailable``."""
        async with self._transaction(self._reader) as statements:
            yield statements

    @asynccontextmanager
    async def writing(self, *, urgent: bool = False) -> AsyncIterator[Statements]:
        """Open a transaction that is committed when the block ends; raises ``StorageUnavailable``."""
        if self.is_sqlite:
            async with self.writing_turn(urgent=urgent), self._kept.held() as (connection, driver):
                statements = Statements(connection, self.options.statement_seconds, driver)
                yield statements
                await statements.commit()
        elif urgent:
            # Nobody waits for its turn while it waits for a connection. What is left then, the commit, waits for none.
            async with self._transaction(self._writer) as statements, self.writing_turn(urgent=True):
                yield statements
        else:
            async with self._transaction(self._writer) as statements:
                yield statements

    @asynccontextmanager
    async def writing_turn(self, *, urgent: bool = False) -> AsyncIterator[None]:
        """Hold the right to write within this process, where writers take turns; raises ``StorageUnavailable``.

        An ``urgent`` one goes before those that queue.
        """
        try:
            async with asyncio.timeout(self.options.acquire_seconds):
                if urgent:
                    await self._turn.acquire()
                else:
                    async with self._queue:
                        await self._turn.acquire()
        except TimeoutError as error:
            raise StorageUnavailable from error
        try:
            yield
        finally:
            self._turn.release()

    async def ping(self) -> None:
        """Ask for a sign of life; raises ``StorageUnavailable``."""
        async with self.reading() as statements:
            await statements.run(_PING)

    @property
    def connections_in_use(self) -> int:
        """How many connections transactions hold at this moment."""
        pools = {self._reader.sync_engine.pool, self._writer.sync_engine.pool}
        return sum(map(_checked_out, pools)) - (self.is_sqlite and self._kept.idle)

    async def close(self) -> None:
        """Close all connections, once who writes on SQLite has come to its end, which is not waited for without end."""
        if self.is_sqlite:
            with suppress(StorageUnavailable):
                async with self.writing_turn():
                    pass
            await self._kept.close()
        await self._reader.dispose()
        await self._writer.dispose()

    @asynccontextmanager
    async def _transaction(self, engine: AsyncEngine) -> AsyncIterator[Statements]:
        # The first statement begins it. Leaving without a commit, by whatever way, rolls back.
        async with connected(engine) as connection:
            statements = Statements(connection, self.options.statement_seconds)
            yield statements
            await statements.commit()


def _checked_out(pool: Pool) -> int:
    # Both kinds of database have pools that count; SQLAlchemy's type of all pools does not say so.
    assert isinstance(pool, QueuePool)
    return pool.checkedout()
