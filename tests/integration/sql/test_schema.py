"""Migrations: what they make, and that they can be run at any time by anyone."""

import asyncio
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from chatter_grpc.adapters.sql import schema
from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.adapters.sql.storage import SqlStorage
from tests.support.databases import PostgresDatabases, SqliteFiles
from tests.support.records import store_conversation

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def empty_url(databases: SqliteFiles | PostgresDatabases) -> Iterator[str]:
    with databases.empty() as url:
        yield url


async def test_migrations_make_what_the_models_say(empty_url: str) -> None:
    def difference(connection: Connection) -> object:
        options = {"compare_type": True, "compare_server_default": True, "include_object": is_modelled}
        context = MigrationContext.configure(connection, opts=options)
        return compare_metadata(context, schema.METADATA)

    await schema.migrate(empty_url)
    assert await asyncio.to_thread(schema._in_own_loop, empty_url, difference) == []


def is_modelled(_: object, name: str | None, *__: object) -> bool:
    """Whether a thing is one that a model knows: the indexes of words are not, which are different on each database."""
    return not re.search(r"^(message|conversation)_terms|^terms$|_words_terms$", name or "")


async def test_every_model_is_among_the_rows_that_migrations_know() -> None:
    assert {row.__tablename__ for row in schema.ROWS} == set(schema.METADATA.tables)


async def test_the_revision_tells_whether_a_database_is_current(empty_url: str) -> None:
    assert await schema.current(empty_url) is None
    assert not await schema.is_current(empty_url)
    await schema.migrate(empty_url)
    assert await schema.current(empty_url) == await asyncio.to_thread(schema.latest)
    assert await schema.is_current(empty_url)


async def test_migrating_again_changes_nothing(database_url: str) -> None:
    database = Database(database_url)
    conversation = await store_conversation(SqlStorage(database))
    await schema.migrate(database_url)
    async with SqlStorage(database).read() as tx:
        assert await tx.conversations.get(conversation.owner_id, conversation.id) == conversation
    await database.close()


async def test_several_that_migrate_at_once_all_find_it_done(empty_url: str) -> None:
    await asyncio.gather(*(schema.migrate(empty_url) for _ in range(3)))
    assert await schema.is_current(empty_url)


async def test_processes_that_migrate_at_once_all_find_it_done(empty_url: str) -> None:
    program = (
        "import asyncio, sys; from chatter_grpc.adapters.sql import schema as s; asyncio.run(s.migrate(sys.argv[1]))"
    )
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", program, empty_url, cwd=ROOT) for _ in range(2)
    ]
    async with asyncio.timeout(60):
        assert [await process.wait() for process in processes] == [0, 0]
    assert await schema.is_current(empty_url)


async def test_on_postgres_a_migration_waits_for_the_one_that_is_at_work(
    postgres_databases: PostgresDatabases,
) -> None:
    with postgres_databases.empty() as url:
        database = Database(url)
        async with asyncio.timeout(60), database.writing() as at_work:
            await at_work.run(schema._LOCK)
            migration = asyncio.create_task(schema.migrate(url))
            while not await somebody_waits(database):  # noqa: ASYNC110 - another process is looked at
                await asyncio.sleep(0.02)
            assert await schema.current(url) is None
        await migration
        assert await schema.is_current(url)
        await database.close()


async def somebody_waits(database: Database) -> bool:
    """Whether a connection waits for an advisory lock."""
    waiting = text("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'advisory' AND datname = current_database()")
    async with database.reading() as statements:
        return bool(await statements.rows(waiting))


async def test_a_migration_that_breaks_leaves_the_database_as_it_was(empty_url: str) -> None:
    def upgrade_and_break(connection: Connection) -> None:
        schema._upgrade(connection)
        raise LookupError

    with pytest.raises(LookupError):
        await asyncio.to_thread(schema._in_own_loop, empty_url, upgrade_and_break)
    assert await schema.current(empty_url) is None
    await schema.migrate(empty_url)


async def test_going_back_leaves_no_table_behind(empty_url: str) -> None:
    def go_back(connection: Connection) -> list[str]:
        configuration = schema._configuration()
        configuration.attributes["connection"] = connection
        command.downgrade(configuration, "base")
        return inspect(connection).get_table_names()

    await schema.migrate(empty_url)
    assert await asyncio.to_thread(schema._in_own_loop, empty_url, go_back) == ["alembic_version"]


async def test_a_url_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="sqlite:///path"):
        await schema.migrate("nonsense")


async def test_sqlite_writes_ahead_and_checks_foreign_keys(sqlite_files: SqliteFiles) -> None:
    with sqlite_files.fresh() as url:
        database = Database(url)
        for transaction in (database.reading, database.writing):
            async with transaction() as statements:
                assert (await statements.rows(text("PRAGMA journal_mode")))[0][0] == "wal"
                assert (await statements.rows(text("PRAGMA foreign_keys")))[0][0] == 1
                assert (await statements.rows(text("PRAGMA synchronous")))[0][0] == 1
        await database.close()
