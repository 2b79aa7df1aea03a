"""A database that is away, busy or slow: always the same typed error, and always in time."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from chatter_grpc.adapters.sql import schema
from chatter_grpc.adapters.sql.committer import open_committer
from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.adapters.sql.engines import DatabaseOptions
from chatter_grpc.adapters.sql.storage import SqlStorage
from chatter_grpc.adapters.sql.wakeups import PostgresCarrier
from chatter_grpc.core.errors import StorageUnavailable
from chatter_grpc.core.runs.relay import CarrierAway
from chatter_grpc.core.runs.run import LogCommitter, LogPosition
from tests.support.databases import PostgresDatabases, SqliteFiles
from tests.support.outages import line_to
from tests.support.records import (
    a_conversation,
    a_user,
    batch_of,
    deltas_of,
    start_run,
    store_conversation,
    store_user,
)
from tests.support.waiting import eventually

QUICK = DatabaseOptions(pool_size=1, acquire_seconds=0.2, statement_seconds=0.2)
# Longer than any machine is slow, and far longer than what is waited for.
AT_MOST = 30.0


@pytest.fixture
async def quick(database_url: str) -> AsyncIterator[Database]:
    """A database with one connection and short deadlines."""
    database = Database(database_url, QUICK)
    yield database
    await database.close()


@pytest.fixture
async def postgres(postgres_databases: PostgresDatabases) -> AsyncIterator[Database]:
    with postgres_databases.fresh() as url:
        database = Database(url, DatabaseOptions(pool_size=2, acquire_seconds=5, statement_seconds=5))
        yield database
        await database.close()


async def is_refused(work: Awaitable[object]) -> None:
    """Check that work ends with the typed error, which names its cause."""
    async with asyncio.timeout(AT_MOST):
        with pytest.raises(StorageUnavailable) as raised:
            await work
    assert raised.value.__cause__ is not None
    assert raised.value.retry_after is not None


async def read(database: Database) -> None:
    async with SqlStorage(database).read() as tx:
        await tx.users.get("user_none")


async def write(database: Database) -> None:
    await store_user(SqlStorage(database))


async def test_a_pool_that_is_used_up_refuses_and_then_serves_again(quick: Database) -> None:
    for transaction, work in ((quick.reading, read), (quick.writing, write)):
        async with transaction():
            await is_refused(work(quick))
        await work(quick)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user@127.0.0.1:1/none",
        "postgresql://user@/none?host=/nonexistent",
        "sqlite:////nonexistent/chatter.sqlite3",
        "sqlite:////proc/version",
    ],
)
async def test_a_database_that_cannot_be_reached_is_unavailable(url: str) -> None:
    database = Database(url, QUICK)
    storage = SqlStorage(database)
    for work in (storage.ping(), read(database), write(database), open_committer(database)):
        await is_refused(work)
    await database.close()


@pytest.mark.parametrize("url", ["postgresql://user@/none?host=/nonexistent", "sqlite:////nonexistent/chatter.sqlite3"])
async def test_migrations_tell_that_a_database_cannot_be_reached(url: str) -> None:
    for work in (schema.migrate, schema.current, schema.is_current):
        await is_refused(work(url))


async def test_a_database_that_is_not_there_on_a_server_is_unavailable(postgres_databases: PostgresDatabases) -> None:
    with postgres_databases.empty() as url:
        database = Database(url.replace("/test", "/no_test"), QUICK)
        await is_refused(SqlStorage(database).ping())
        await database.close()


async def test_a_server_that_takes_connections_and_never_answers_is_unavailable() -> None:
    gone = asyncio.Event()

    async def stall(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gone.wait()
        writer.close()

    server = await asyncio.start_server(stall, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    database = Database(f"postgresql://user@127.0.0.1:{port}/none", QUICK)
    await is_refused(SqlStorage(database).ping())
    await is_refused(open_committer(database))
    await database.close()
    gone.set()
    server.close()
    await server.wait_closed()


async def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "chatter.sqlite3"
    path.write_bytes(b"no database at all" * 100)
    database = Database(f"sqlite:///{path}", QUICK)
    await is_refused(SqlStorage(database).ping())
    await database.close()


async def test_a_statement_that_takes_too_long_is_ended_and_the_next_one_served(quick: Database) -> None:
    endless = text("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n")
    if not quick.is_sqlite:
        endless = text("SELECT pg_sleep(60)")

    async def work() -> None:
        async with quick.reading() as statements:
            await statements.run(endless)

    await is_refused(work())
    await read(quick)


async def test_a_block_that_goes_on_after_a_statement_failed_is_not_committed(quick: Database) -> None:
    storage = SqlStorage(quick)
    user = a_user()

    async def work() -> None:
        async with storage.write() as tx:
            await tx.users.add(user)
            with suppress(IntegrityError):
                await tx.conversations.add(a_conversation("user_none"))
            with suppress(IntegrityError):
                await tx.users.add(a_user())

    with pytest.raises(IntegrityError):
        await work()
    async with storage.read() as tx:
        assert await tx.users.get(user.id) is None


async def test_a_row_that_another_process_holds_is_waited_for_no_longer_than_a_statement(
    postgres: Database,
) -> None:
    conversation = await store_conversation(SqlStorage(postgres))
    impatient = Database(postgres.url.render_as_string(hide_password=False), QUICK)

    async def lock() -> None:
        async with SqlStorage(impatient).write() as tx:
            await tx.conversations.lock(conversation.owner_id, conversation.id)

    async with SqlStorage(postgres).write() as tx:
        await tx.conversations.lock(conversation.owner_id, conversation.id)
        await is_refused(lock())
    await lock()
    await impatient.close()


async def test_a_file_that_another_process_writes_is_waited_for_no_longer_than_the_deadline(
    sqlite_files: SqliteFiles,
) -> None:
    with sqlite_files.fresh() as url:
        database = Database(url, QUICK)
        committer = await open_committer(database)
        run = await start_run(SqlStorage(database), await store_conversation(SqlStorage(database)))
        batch = batch_of(run, 3, [deltas_of("x")])
        other = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        await is_refused(write(database))
        await is_refused(committer.commit([batch]))
        await read(database)
        other.execute("ROLLBACK")
        other.close()
        await write(database)
        assert await committer.commit([batch]) == []
        await committer.close()
        await database.close()


async def test_a_fault_of_ours_is_not_taken_for_a_database_that_is_away(quick: Database) -> None:
    storage = SqlStorage(quick)
    with pytest.raises(IntegrityError):
        await store_conversation(storage, "user_none")
    with pytest.raises(SQLAlchemyError, match="no_such_table") as raised:
        async with quick.reading() as statements:
            await statements.run(text("SELECT * FROM no_such_table"))
    assert not isinstance(raised.value, StorageUnavailable)


@pytest.mark.platform("T7")
async def test_an_error_of_the_database_shows_nothing_of_what_was_to_be_stored(quick: Database) -> None:
    with pytest.raises(IntegrityError) as raised:
        await store_conversation(SqlStorage(quick), "user_none", title="planted title", description="planted text")
    assert "planted" not in str(raised.value)


async def backends(database: Database, what: str, where: str) -> list[object]:
    async with database.writing() as statements:
        rows = await statements.rows(
            text(
                f"SELECT {what} FROM pg_stat_activity WHERE datname = current_database()"
                f" AND pid <> pg_backend_pid() AND {where}"
            )
        )
    return [row[0] for row in rows]


async def end_backends(database: Database, where: str = "true") -> None:
    assert all(await backends(database, "pg_terminate_backend(pid, 5000)", where))


async def test_a_transaction_whose_connection_is_cut_is_unavailable_and_the_next_is_served(postgres: Database) -> None:
    storage = SqlStorage(postgres)
    user = a_user()

    async def work() -> None:
        async with storage.write() as tx:
            await tx.users.add(user)
            await end_backends(postgres, "state = 'idle in transaction'")
            await tx.users.get(user.id)

    await is_refused(work())
    async with storage.read() as tx:
        assert await tx.users.get(user.id) is None


async def test_connections_that_were_cut_while_idle_are_replaced_without_an_error(postgres: Database) -> None:
    async with postgres.reading() as first, postgres.reading() as second:
        await first.run(text("SELECT 1"))
        await second.run(text("SELECT 1"))
    await end_backends(postgres)
    async with postgres.reading() as first, postgres.reading() as second:
        await first.run(text("SELECT 1"))
        await second.run(text("SELECT 1"))


async def test_connections_to_which_the_server_said_farewell_are_unavailable_once_and_then_replaced(
    postgres: Database,
) -> None:
    with line_to(postgres.url.render_as_string(hide_password=False), hangs_up=False) as (line, url):
        database = Database(url, DatabaseOptions(pool_size=1, acquire_seconds=5, statement_seconds=5))
        carrier = PostgresCarrier(database)
        listening = asyncio.create_task(carrier.run(lambda _: None))
        async with committing(database) as committer:
            await read(database)
            await write(database)
            run = await start_run(SqlStorage(database), await store_conversation(SqlStorage(database)))
            await eventually(lambda: carries(carrier))
            await end_backends(postgres)
            # It takes a moment over the line; one that had not arrived would have the connection served below.
            await asyncio.sleep(0.1)
            with pytest.raises(CarrierAway):
                await carrier.send(["run"])
            await is_refused(read(database))
            await read(database)
            await write(database)
            await is_refused(committer.commit([batch_of(run, 3, [deltas_of("x")])]))
            assert await committer.commit([batch_of(run, 3, [deltas_of("x")])]) == []
            await eventually(lambda: carries(carrier))
            # Nobody would see the end of a connection that is closed either.
            line.cut()
        listening.cancel()
        await asyncio.wait((listening,))
        await database.close()


async def carries(carrier: PostgresCarrier) -> bool:
    try:
        await carrier.send(["run"])
    except CarrierAway:
        return False
    return True


@asynccontextmanager
async def committing(database: Database) -> AsyncIterator[LogCommitter]:
    committer = await open_committer(database)
    yield committer
    await committer.close()


async def test_the_committer_connects_again_after_it_was_cut_off_while_idle(postgres: Database) -> None:
    run = await start_run(SqlStorage(postgres), await store_conversation(SqlStorage(postgres)))
    async with committing(postgres) as committer:
        assert await committer.commit([batch_of(run, 3, [deltas_of("x")])]) == []
        await end_backends(postgres)
        assert await committer.commit([batch_of(run, 4, [deltas_of("y")])]) == []


async def test_a_commit_that_is_cut_off_is_unavailable_and_sent_again_it_is_written_once(postgres: Database) -> None:
    storage = SqlStorage(postgres)
    run = await start_run(storage, await store_conversation(storage))
    batch = batch_of(run, 3, [deltas_of("x", "y")])
    stuck = "wait_event_type = 'Lock' AND query LIKE '%run_log%'"
    async with committing(postgres) as committer:
        async with storage.write() as tx:
            # The run's row is held, so that the commit waits for it.
            await tx.runs.renew_leases("process_1", {run.id: 1}, 30)
            commit = asyncio.create_task(committer.commit([batch]))
            async with asyncio.timeout(AT_MOST):
                while not await backends(postgres, "pid", stuck):  # noqa: ASYNC110 - another process is looked at
                    await asyncio.sleep(0.01)
            await end_backends(postgres, stuck)
            await is_refused(commit)
        assert await committer.commit([batch]) == []
        assert await committer.commit([batch]) == []
    async with storage.read() as tx:
        assert (await tx.runs.read_log(run.id, LogPosition(1, 2), 10_000)) == list(batch.entries)


async def test_a_commit_that_waits_too_long_is_unavailable(postgres: Database) -> None:
    storage = SqlStorage(postgres)
    run = await start_run(storage, await store_conversation(storage))
    impatient = Database(postgres.url.render_as_string(hide_password=False), QUICK)
    batch = batch_of(run, 3, [deltas_of("x")])
    async with committing(impatient) as committer:
        async with storage.write() as tx:
            await tx.runs.renew_leases("process_1", {run.id: 1}, 30)
            await is_refused(committer.commit([batch]))
        assert await committer.commit([batch]) == []
    await impatient.close()


async def test_a_committer_that_was_never_used_or_is_closed_twice_closes_quietly(quick: Database) -> None:
    committer = await open_committer(quick)
    await committer.close()
    await committer.close()


async def test_work_that_is_cancelled_anywhere_leaves_no_connection_and_no_lock_behind(quick: Database) -> None:
    storage = SqlStorage(quick)
    owner = await store_user(storage)
    ids = []

    async def work() -> None:
        conversation = a_conversation(owner.id)
        async with storage.write() as tx:
            await tx.conversations.add(conversation)
        ids.append(conversation.id)
        async with storage.read() as tx:
            await tx.conversations.get(owner.id, conversation.id)

    for steps in range(0, 60, 2):
        task = asyncio.create_task(work())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError, StorageUnavailable):
            await task
    async with asyncio.timeout(AT_MOST):
        await work()
    async with storage.read() as tx:
        for conversation_id in ids:
            await tx.conversations.get(owner.id, conversation_id)
    assert quick.connections_in_use == 0
    if quick.is_sqlite:
        # The one that is kept for the next transaction is whole, too.
        await quick._kept.close()
    for engine in (quick._reader, quick._writer):
        assert "Connections in pool: 1 Current Overflow: 0 Current Checked out connections: 0" in (
            engine.pool.status().replace("  ", " ")
        )
