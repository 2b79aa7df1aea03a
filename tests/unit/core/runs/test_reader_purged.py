"""Readers of runs that are purged while they read."""

import pytest

from chatter_grpc.core.errors import CursorExpired, RunNotFound
from chatter_grpc.core.runs.reader import Chunk, Control, RunReader
from chatter_grpc.core.runs.run import LogPosition
from chatter_grpc.core.runs.run_logs import SNAPSHOT
from tests.support.reading import BEGINNING, FIRST, Server
from tests.support.waiting import soon

MINUTE = 60.0


async def a_server(*, heartbeat: float = 3600) -> Server:
    """One that has a run in its database, which is at work elsewhere or has ended."""
    return Server(live=False, heartbeat=heartbeat)


async def test_a_reader_in_the_middle_is_told_that_its_cursor_has_expired() -> None:
    server = await a_server()
    async with RunReader(server.readers, "run", LogPosition(1, 2), complete=True) as reader:
        server.log.purge("run")
        with pytest.raises(CursorExpired):
            await soon(reader.next())


async def test_so_is_one_that_waits_for_what_comes_next() -> None:
    server = await a_server(heartbeat=0)
    async with server.reader() as reader:
        assert await soon(reader.next()) == Chunk(FIRST, LogPosition(1, 3))
        assert await soon(reader.next()) == Chunk((), LogPosition(1, 3), Control.CAUGHT_UP)
        server.log.purge("run")
        with pytest.raises(CursorExpired):
            await soon(reader.next())


async def test_one_that_never_read_any_of_it_is_told_that_there_is_no_such_run() -> None:
    server = await a_server()
    server.log.purge("run")
    async with RunReader(server.readers, "run", BEGINNING) as reader:
        with pytest.raises(RunNotFound):
            await soon(reader.next())


async def test_so_are_pages() -> None:
    server = await a_server()
    async with RunReader(server.readers, "run", LogPosition(1, 2), complete=True) as reader:
        server.log.purge("run")
        with pytest.raises(CursorExpired):
            await soon(reader.page(50, MINUTE))


async def test_one_within_a_snapshot_is_told_too() -> None:
    server = await a_server()
    await server.end()
    server.log.compact("run")
    async with RunReader(server.readers, "run", BEGINNING, complete=True) as reader:
        assert await soon(reader.next()) == Chunk((), LogPosition(SNAPSHOT, 0), Control.SNAPSHOT, 3)
        server.log.purge("run")
        with pytest.raises(CursorExpired):
            await soon(reader.next())


async def test_a_reader_at_the_end_has_all_there_was_while_the_run_is_there() -> None:
    server = await a_server()
    await server.end()
    async with RunReader(server.readers, "run", LogPosition(1, 4), complete=True) as reader:
        assert await soon(reader.next()) == Chunk((), LogPosition(1, 4), Control.CAUGHT_UP)
        assert await soon(reader.next()) is None
