"""The migration that lets go of rows others still name, on a database with data: there and back."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import pytest
from alembic import command
from sqlalchemy import Connection

from chatter_grpc.adapters.sql import schema
from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.adapters.sql.storage import SqlStorage
from chatter_grpc.core.conversations import PURGE_AFTER
from chatter_grpc.core.housekeeping.duties import Duty
from chatter_grpc.core.housekeeping.store import SYSTEM
from chatter_grpc.core.ids import CONVERSATION, new_id
from chatter_grpc.core.pages import PageRequest
from chatter_grpc.core.runs.run import RunState
from tests.support.databases import PostgresDatabases, SqliteFiles
from tests.support.housekeeping import (
    PASS_INPUT,
    a_pass,
    delete_conversation,
    rows_naming,
    store_laden_conversation,
    sweep,
)
from tests.support.records import LEASE, NOW, PROCESS, a_conversation, first_batch

BEFORE = "0011"
FAR = NOW + timedelta(days=1)


@pytest.fixture
def empty_url(databases: SqliteFiles | PostgresDatabases) -> Iterator[str]:
    with databases.empty() as url:
        yield url


async def go_back(url: str) -> None:
    def downgrade(connection: Connection) -> None:
        configuration = schema._configuration()
        configuration.attributes["connection"] = connection
        command.downgrade(configuration, BEFORE)

    await asyncio.to_thread(schema._in_own_loop, url, downgrade)


async def test_what_is_there_is_there_after_going_back_and_forth(empty_url: str) -> None:
    await schema.migrate(empty_url)
    database = Database(empty_url)
    storage = SqlStorage(database)
    original, _ = await store_laden_conversation(storage)
    _, other_ids = await store_laden_conversation(storage, original.owner_id)
    fork = a_conversation(original.owner_id, id=new_id(CONVERSATION))
    async with storage.write() as tx:
        await tx.conversations.add(fork, last_index=8)
        await tx.forks.copy(original.owner_id, original.id, 8, fork.id)
        run = a_pass()
        first = first_batch(run)
        assert await tx.housekeeping.begin(
            run, PASS_INPUT, first, process_id=PROCESS, lease_seconds=LEASE, earlier_than=FAR
        )
    await delete_conversation(storage, original, NOW)
    await sweep(storage, NOW + PURGE_AFTER, Duty.CONVERSATIONS)
    others = await rows_naming(database, other_ids)
    async with storage.read() as tx:
        copies = await tx.messages.list(fork.owner_id, fork.id, PageRequest(), newest_first=False)
    await database.close()

    await go_back(empty_url)
    # With every foreign key checked, those that are back included.
    await schema.migrate(empty_url)
    database = Database(empty_url)
    storage = SqlStorage(database)
    assert await rows_naming(database, other_ids) == others
    assert not await rows_naming(database, [SYSTEM])
    async with storage.read() as tx:
        assert await tx.messages.list(fork.owner_id, fork.id, PageRequest(), newest_first=False) == copies
        for message in copies.items:
            # In the place of the run that is gone there is one that an older version can live with.
            assert (await tx.runs.get(fork.owner_id, message.run_id)).state is RunState.COMPLETED
    assert len(copies.items) == 6
    await database.close()
