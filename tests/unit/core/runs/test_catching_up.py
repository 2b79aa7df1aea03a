"""Many readers that are far behind: they take turns at the log, and nobody else waits for them."""

import asyncio
from contextlib import AsyncExitStack

from chatter_grpc.core.runs.events import Batch, DeltaKind, Deltas, Entry
from chatter_grpc.core.runs.reader import CATCHING_UP, PAGE_SIZE, Chunk, RunReader
from tests.support.reading import BEGINNING, Server
from tests.support.run_logs import singles
from tests.support.waiting import soon, until

READERS = 12
PIECE = "x" * 200


def long_log() -> Server:
    """A server on which the run is not at work, and whose log is many pages long, a batch for each delta."""
    server = Server(live=False)
    for seq in range(4, 4 + 4 * PAGE_SIZE // len(PIECE)):
        entry = Entry(seq, 1, "1.1", 0, Deltas(DeltaKind.TEXT, "m", [PIECE]))
        server.log.batches["run"].append(Batch("run", 1, (entry,)))
    return server


async def read_on(reader: RunReader, last: int) -> list[int]:
    found: list[int] = []
    while not found or found[-1] < last:
        chunk = await soon(reader.next())
        assert isinstance(chunk, Chunk)
        found += [seq for seq, *_ in singles(chunk.entries)]
    return found


async def test_those_who_are_far_behind_take_turns_and_all_come_to_the_end() -> None:
    server = long_log()
    last = server.log.batches["run"][-1].last_seq
    async with AsyncExitStack() as stack:
        behind = [await stack.enter_async_context(server.reader()) for _ in range(READERS)]
        firsts = [await soon(reader.next()) for reader in behind]
        tasks = [asyncio.create_task(read_on(reader, last)) for reader in behind]
        most = 0
        while not all(task.done() for task in tasks):
            most = max(most, server.log.open_reads)
            await asyncio.sleep(0)
        for first, task in zip(firsts, tasks, strict=True):
            assert first is not None
            assert [*(seq for seq, *_ in singles(first.entries)), *await task] == list(range(1, last + 1))
    assert server.log.reads > 2 * READERS, "it takes several pages"
    assert most == CATCHING_UP


async def test_who_follows_a_run_does_not_wait_for_those_who_are_far_behind() -> None:
    server = long_log()
    async with AsyncExitStack() as stack:
        behind = [await stack.enter_async_context(server.reader()) for _ in range(READERS)]
        for reader in behind:
            await soon(reader.next())
        server.log.answer.clear()
        held_up = [asyncio.create_task(reader.next()) for reader in behind]
        await until(lambda: server.log.open_reads == CATCHING_UP)
        last = server.log.batches["run"][-1]
        following = await stack.enter_async_context(server.reader(BEGINNING._replace(attempt=1, seq=last.last_seq - 1)))
        arriving = asyncio.create_task(following.next())
        await until(lambda: server.log.open_reads == CATCHING_UP + 1)
        server.log.answer.set()
        chunk = await soon(arriving)
        assert chunk is not None
        assert [seq for seq, *_ in singles(chunk.entries)] == [last.last_seq]
        await soon(asyncio.gather(*held_up))
