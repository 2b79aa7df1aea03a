"""Commits the run log to PostgreSQL over one connection of its own, below SQLAlchemy."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg

from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.adapters.sql.engines import connect_arguments
from chatter_grpc.adapters.sql.faults import DRIVER_FAULTS, away_as_unavailable, unreachable_as_unavailable
from chatter_grpc.adapters.sql.log_codec import encode_batch
from chatter_grpc.core.errors import StorageUnavailable
from chatter_grpc.core.runs.events import Batch

# One statement is one transaction and one trip. It names the runs whose fence held.
_APPEND: Final = """
    WITH batch AS (
        SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[])
        AS batch (run_id, attempt, first_seq, last_seq, events)
    ), fenced AS (
        UPDATE runs SET last_seq = batch.last_seq FROM batch
        WHERE runs.id = batch.run_id AND runs.attempt = batch.attempt AND runs.last_seq = batch.first_seq - 1
        AND runs.state = 'running'
        RETURNING runs.id
    )
    INSERT INTO run_log (run_id, attempt, last_seq, first_seq, size, events)
    SELECT run_id, attempt, last_seq, first_seq, octet_length(events), events
    FROM batch JOIN fenced ON fenced.id = batch.run_id
    RETURNING run_id
"""
_ARE_THERE: Final = """
    SELECT run_id
    FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[])
    AS batch (run_id, attempt, first_seq, last_seq, events)
    JOIN run_log USING (run_id, attempt, first_seq, last_seq, events)
    JOIN runs ON runs.id = run_id AND runs.attempt = batch.attempt
"""


class PostgresCommitter:
    """``LogCommitter`` on PostgreSQL; connects on first use, and again after it lost the connection."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._options = database.options
        self._arguments = connect_arguments(database.url, database.options)
        self._turn = asyncio.Lock()
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def connect(self) -> None:
        """Connect, so that the first commit does not have to; raises ``StorageUnavailable``."""
        async with self._connected():
            pass

    async def commit(self, batches: Sequence[Batch]) -> Collection[str]:
        """See ``LogCommitter``."""
        async with self._connected() as connection, self._database.writing_turn(urgent=True):
            with away_as_unavailable():
                columns = _columns(batches)
                written = {row[0] for row in await connection.fetch(_APPEND, *columns)}
                if len(written) < len(batches):
                    written |= {row[0] for row in await connection.fetch(_ARE_THERE, *columns)}
        return [batch.run_id for batch in batches if batch.run_id not in written]

    async def close(self) -> None:
        """See ``LogCommitter``."""
        async with self._turn:
            connection, self._connection = self._connection, None
            if connection is not None:
                try:
                    await connection.close(timeout=self._options.acquire_seconds)
                except (OSError, *DRIVER_FAULTS):
                    connection.terminate()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        async with self._taking_turns():
            if self._connection is None or self._connection.is_closed():
                with unreachable_as_unavailable():
                    self._connection = await asyncpg.connect(**self._arguments)
            connection = self._connection
            try:
                yield connection
            except BaseException:
                # Whatever it was, the next commit does not have to ask what state the connection is in.
                self._connection = None
                connection.terminate()
                raise

    @asynccontextmanager
    async def _taking_turns(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._options.acquire_seconds):
                await self._turn.acquire()
        except TimeoutError as error:
            raise StorageUnavailable from error
        try:
            yield
        finally:
            self._turn.release()


def _columns(batches: Sequence[Batch]) -> tuple[list[Any], ...]:
    return (
        [batch.run_id for batch in batches],
        [batch.attempt for batch in batches],
        [batch.first_seq for batch in batches],
        [batch.last_seq for batch in batches],
        [encode_batch(batch) for batch in batches],
    )
