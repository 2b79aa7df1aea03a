"""`chatter-grpc admin keep-house` removes what has had its time, says what that was, and gets in nobody's way."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

import pytest
import typer
from typer.testing import CliRunner, Result

from chatter_grpc.adapters.sql.committer import open_committer
from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.adapters.sql.storage import SqlStorage
from chatter_grpc.app.housekeeping_now import keep_house
from chatter_grpc.cli.housekeeping import housekeeping_command
from chatter_grpc.config import Settings, load_settings
from chatter_grpc.core.clock import utc_now
from tests.support.databases import SqliteFiles
from tests.support.housekeeping import delete_conversation, store_laden_conversation
from tests.support.keepers import HeldStorage, Keeper
from tests.support.waiting import run_alone, soon


@pytest.fixture
def settings(sqlite_files: SqliteFiles) -> Iterator[Settings]:
    with sqlite_files.fresh() as url:
        yield load_settings(database_url=url)


def invoke(settings: Settings) -> Result:
    app = typer.Typer()
    app.command()(housekeeping_command(partial(keep_house, settings)))
    return CliRunner().invoke(app, [])


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Database]:
    database = Database(settings.database)
    yield database
    await database.close()


async def store_purgeable(settings: Settings) -> None:
    async with opened(settings) as database:
        storage = SqlStorage(database)
        conversation, _ = await store_laden_conversation(storage)
        await delete_conversation(storage, conversation, utc_now() - timedelta(seconds=1))


def test_it_says_what_it_removed(settings: Settings) -> None:
    run_alone(store_purgeable(settings))
    result = invoke(settings)
    assert result.exit_code == 0
    removed = dict(line.split() for line in result.stdout.splitlines() if len(line.split()) == 2)
    assert (removed["conversations"], removed["messages"], removed["runs"]) == ("1", "8", "2")
    assert "done" in result.stderr


def test_it_says_that_there_was_nothing(settings: Settings) -> None:
    result = invoke(settings)
    assert (result.exit_code, result.stdout) == (0, "Nothing has had its time.\n")


def test_it_leaves_a_pass_alone_that_is_at_work(settings: Settings) -> None:
    async def meanwhile() -> Result:
        async with opened(settings) as database:
            storage = SqlStorage(database)
            await store_laden_conversation(storage)
            held = HeldStorage(storage, portions=0)
            committer = await open_committer(database)
            async with Keeper(storage, committer, held=held, now=lambda: utc_now() + timedelta(days=2)) as keeper:
                assert await keeper.starts.start() is not None
                await soon(held.waiting.wait())
                result = await asyncio.to_thread(invoke, settings)
            await committer.close()
            return result

    result = run_alone(meanwhile())
    assert (result.exit_code, result.stdout) == (0, "")
    assert "A server keeps house at this moment." in result.stderr
