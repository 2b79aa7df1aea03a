"""Commits the run log to SQLite from one thread of its own, below SQLAlchemy."""

import asyncio
import sqlite3
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.adapters.sql.faults import away_as_unavailable, unreachable_as_unavailable
from chatter_grpc.adapters.sql.run_log import batch_values
from chatter_grpc.adapters.sql.sqlite_driver import open_file
from chatter_grpc.adapters.sql.statements import GRACE_SECONDS
from chatter_grpc.core.runs.events import Batch

# A statement for each run costs what one for all of them does, and its row count can be trusted.
_FENCE: Final = """
    UPDATE runs SET last_seq = :last_seq
    WHERE id = :run_id AND attempt = :attempt AND last_seq = :first_seq - 1 AND state = 'running'
"""
_APPEND: Final = """
    INSERT INTO run_log (run_id, attempt, last_seq, first_seq, size, events)
    VALUES (:run_id, :attempt, :last_seq, :first_seq, :size, :events)
"""
_IS_THERE: Final = """
    SELECT 1 FROM run_log JOIN runs ON runs.id = run_log.run_id AND runs.attempt = run_log.attempt
    WHERE run_id = :run_id AND run_log.attempt = :attempt AND run_log.last_seq = :last_seq AND events = :events
"""


class SqliteCommitter:
    """``LogCommitter`` on a database file; takes its turn among the process's other writers."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="run-log")
        self._connection: sqlite3.Connection | None = None
        self._closed = False

    async def connect(self) -> None:
        """Open the file, so that the first commit does not have to; raises ``StorageUnavailable``."""
        with unreachable_as_unavailable():
            await asyncio.get_running_loop().run_in_executor(self._thread, self._connect)

    async def commit(self, batches: Sequence[Batch]) -> Collection[str]:
        """See ``LogCommitter``."""
        loop = asyncio.get_running_loop()
        seconds = self._database.options.acquire_seconds + self._database.options.statement_seconds + GRACE_SECONDS
        async with self._database.writing_turn():
            with away_as_unavailable():
                async with asyncio.timeout(seconds):
                    return await loop.run_in_executor(self._thread, self._write, batches)

    async def close(self) -> None:
        """See ``LogCommitter``."""
        if not self._closed:
            self._closed = True
            await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        await asyncio.to_thread(self._thread.shutdown)

    def _write(self, batches: Sequence[Batch]) -> Collection[str]:
        connection = self._connect()
        try:
            connection.execute("BEGIN IMMEDIATE")
            lost = _append(connection, batches)
            connection.execute("COMMIT")
        except BaseException:
            # Closing rolls back, and the next commit begins afresh whatever it was.
            self._disconnect()
            raise
        return lost

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            options = self._database.options
            path = str(self._database.url.database)
            self._connection = open_file(path, wait_seconds=options.acquire_seconds, deadline=None)
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _append(connection: sqlite3.Connection, batches: Sequence[Batch]) -> Collection[str]:
    written = []
    lost = []
    for batch in batches:
        values = batch_values(batch)
        if connection.execute(_FENCE, values).rowcount == 1:
            written.append(values)
        elif connection.execute(_IS_THERE, values).fetchone() is None:
            lost.append(batch.run_id)
    connection.executemany(_APPEND, written)
    return lost
