"""Opening and leaving files of SQLite's."""

import asyncio
import gc
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from chatter_grpc.adapters.sql.sqlite_driver import Deadline, OneTripConnection, open_file


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
