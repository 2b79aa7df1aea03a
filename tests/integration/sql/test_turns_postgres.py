"""Who writes to PostgreSQL when several lock the rows of the same runs."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from chatter_grpc.adapters.sql.committer import open_committer
from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.adapters.sql.storage import SqlStorage
from tests.support.databases import PostgresDatabases
from tests.support.records import PROCESS, batch_of, deltas_of, start_run, store_conversation
from tests.support.waiting import eventually, soon, until

WAITING = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")


@pytest.fixture
async def database(postgres_databases: PostgresDatabases) -> AsyncIterator[Database]:
    with postgres_databases.fresh() as url:
        database = Database(url)
        yield database
        await database.close()


async def waiting_for_rows(database: Database) -> int:
    async with database.reading() as statements:
        return int((await statements.run(WAITING)).scalar_one())


async def test_a_renewal_of_leases_and_a_commit_of_the_log_never_wait_for_each_others_rows(database: Database) -> None:
    storage, log = SqlStorage(database), await open_committer(database)
    runs = [await start_run(storage, await store_conversation(storage)) for _ in range(2)]
    batches = [batch_of(run, run.last_seq + 1, [deltas_of("a")]) for run in runs]

    async def renew() -> int:
        async with storage.write(urgent=True) as tx:
            return len(await tx.runs.renew_leases(PROCESS, {run.id: run.attempt for run in runs}, 600.0))

    async def commit_waits() -> bool:
        return await waiting_for_rows(database) == 1

    async with asyncio.TaskGroup() as group, storage.write() as tx:
        # Whichever row the commit has locked, one of them keeps it from the other for now.
        await tx.ledger.hold(runs[1].owner_id, runs[1].id, runs[1].attempt)
        commit = group.create_task(soon(log.commit(batches)))
        await eventually(commit_waits)
        renewal = group.create_task(soon(renew()))
        await until(lambda: database.connections_in_use == 2)
        await asyncio.sleep(0.1)
        assert await waiting_for_rows(database) == 1, "the renewal has locked nothing"
    assert (await commit, await renewal) == ([], 2)
    await log.close()
