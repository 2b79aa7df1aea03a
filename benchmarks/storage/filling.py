"""Fills databases in bulk, past the stores, and leaves them as the server would find them after a while."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

import asyncpg

from benchmarks.storage.population import Size, Talk, talks
from benchmarks.storage.rows import COLUMNS, Rows, rows_of_owners, rows_of_talks
from chatter_grpc.adapters.sql import schema
from chatter_grpc.adapters.sql.sqlite_driver import open_file
from chatter_grpc.adapters.sql.urls import parse_url

# Conversations that are written at once.
BATCH = 200
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WORDS_INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE indexname LIKE '%_words_terms'"

Advance = Callable[[int], None]
"""Called with the number of messages that were written."""


async def fill(url: str, size: Size, seed: int, advance: Advance) -> None:
    """Make the tables in an empty database and fill them."""
    await schema.migrate(url)
    if parse_url(url).get_backend_name() == "sqlite":
        await asyncio.to_thread(_fill_sqlite, str(parse_url(url).database), size, seed, advance)
    else:
        await _fill_postgres(url, size, seed, advance)


def _batches(size: Size, seed: int) -> Iterator[list[Talk]]:
    all_talks = talks(size, seed)
    while batch := list(islice(all_talks, BATCH)):
        yield batch


def _fill_sqlite(path: str, size: Size, seed: int, advance: Advance) -> None:
    connection = open_file(path, wait_seconds=10, deadline=None, check_keys=False)
    try:
        connection.execute("PRAGMA synchronous = OFF")

        def put(rows: Rows) -> None:
            connection.execute("BEGIN")
            for table, values in rows.items():
                names = COLUMNS[table]
                marks = ", ".join("?" * len(names))
                connection.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", values)
            connection.execute("COMMIT")

        put(rows_of_owners(size.owners, lambda micros: micros))
        for batch in _batches(size, seed):
            put(rows_of_talks(batch, lambda micros: micros))
            advance(sum(len(talk.texts) for talk in batch))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()


async def _fill_postgres(url: str, size: Size, seed: int, advance: Advance) -> None:
    parsed = parse_url(url)
    host = parsed.query.get("host", parsed.host)
    assert isinstance(host, str), "one server"
    connection = await asyncpg.connect(host=host, user=parsed.username, database=parsed.database, timeout=30)
    try:
        # An index that is made at the end is the same one, made faster.
        indexes = await connection.fetch(WORDS_INDEXES)
        for index in indexes:
            await connection.execute(f"DROP INDEX {index['indexname']}")
        await connection.execute("SET session_replication_role = replica")
        await _copy(connection, rows_of_owners(size.owners, _moment))
        for batch in _batches(size, seed):
            await _copy(connection, rows_of_talks(batch, _moment))
            advance(sum(len(talk.texts) for talk in batch))
        await connection.execute("SET maintenance_work_mem = '512MB'")
        for index in indexes:
            await connection.execute(index["indexdef"])
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


async def _copy(connection: "asyncpg.Connection[asyncpg.Record]", rows: Rows) -> None:
    for table, values in rows.items():
        await connection.copy_records_to_table(table, records=values, columns=COLUMNS[table])


def _moment(micros: int) -> datetime:
    return EPOCH + timedelta(microseconds=micros)
