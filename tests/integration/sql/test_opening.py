"""Opening, closing and leaving files of SQLite's."""

import asyncio
import gc
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.adapters.sql.prepared import Prepared
from chatter_grpc.adapters.sql.sqlite_driver import Deadline, OneTripConnection, open_file
from tests.support.waiting import soon


def test_who_opens_a_file_that_another_one_is_making_waits_for_it(tmp_path: Path) -> None:
    path = str(tmp_path / "new.db")
    opening = threading.Event()

    def open_it() -> str:
        opening.set()
        with closing(open_file(path, wait_seconds=30, deadline=None)) as connection:
            return str(connection.execute("PRAGMA journal_mode").fetchone()[0])

    with ThreadPoolExecutor(1) as thread, closing(sqlite3.connect(path, isolation_level=None)) as maker:
        maker.execute("BEGIN IMMEDIATE")
        opened = thread.submit(open_it)
        assert opening.wait(30)
        with pytest.raises(TimeoutError):
            opened.result(0.2)
        maker.execute("COMMIT")
        assert opened.result(30) == "wal"


def test_who_waits_too_long_is_told_that_the_file_is_locked(tmp_path: Path) -> None:
    path = str(tmp_path / "new.db")
    with closing(sqlite3.connect(path, isolation_level=None)) as maker:
        maker.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            open_file(path, wait_seconds=0.05, deadline=None)


async def test_a_connection_that_is_forgotten_is_closed_and_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = str(tmp_path / "forgotten.db")
    deadline = Deadline(5)
    opened = await OneTripConnection(lambda: open_file(path, wait_seconds=5, deadline=deadline), deadline, "BEGIN")
    thread = opened._thread
    del opened
    gc.collect()
    await asyncio.to_thread(thread.join, 30)
    assert not thread.is_alive()
    assert caplog.messages == ["database_connection_dropped"]


_ADD = Prepared(text("INSERT INTO pairs VALUES (:half)"))


@pytest.fixture
def url(tmp_path: Path) -> str:
    path = tmp_path / "pairs.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE pairs (half TEXT)")
    return f"sqlite:///{path}"


async def stored(url: str) -> list[str]:
    database = Database(url)
    try:
        async with database.reading() as statements:
            return [row.half for row in (await statements.run(text("SELECT half FROM pairs"))).all()]
    finally:
        await database.close()


@pytest.mark.parametrize("turns", [0, 1, 3, 10])
async def test_a_transaction_that_is_open_while_its_database_is_closed_is_whole(url: str, turns: int) -> None:
    database = Database(url)
    begun = asyncio.Event()

    async def write() -> None:
        async with database.writing() as statements:
            await statements.count(_ADD, {"half": "first"})
            begun.set()
            for _ in range(turns):
                await asyncio.sleep(0)
            await statements.count(_ADD, {"half": "second"})

    writing = asyncio.create_task(write())
    await begun.wait()
    await database.close()
    await soon(writing)
    assert await stored(url) == ["first", "second"]
    assert database.connections_in_use == 0


def test_what_failed_in_one_event_loop_is_not_committed_in_the_next(url: str) -> None:
    database = Database(url)

    async def write(half: str, *, fail: bool = False) -> None:
        async with database.writing() as statements:
            await statements.count(_ADD, {"half": half})
            if fail:
                raise RuntimeError(half)

    async def fail_and_write() -> None:
        with pytest.raises(RuntimeError):
            await write("lost", fail=True)
        await write("kept")
        await database.close()

    asyncio.run(write("first"))
    asyncio.run(fail_and_write())
    assert asyncio.run(stored(url)) == ["first", "kept"]
