"""Many readers that are far behind: they take turns, at the log and in memory, and nobody else waits for them."""

import asyncio
import itertools
from contextlib import AsyncExitStack

from chatter_grpc.core.runs.catching_up import FAR_BEHIND, TURN_SIZE, TURNS, Line
from chatter_grpc.core.runs.events import Batch, DeltaKind, Deltas, Entry
from chatter_grpc.core.runs.log_reading import CATCHING_UP
from chatter_grpc.core.runs.reader import Chunk, RunReader
from chatter_grpc.core.runs.run import LogPosition
from tests.support.reading import Server
from tests.support.run_logs import singles
from tests.support.waiting import soon, until

READERS = 12
PIECE = "x" * 200
TOKENS = 4_000
NAMES = "abcdefgh"[: 2 * TURNS]


def long_log() -> Server:
    """A server on which the run is not at work, and whose log is many pages long, a batch for each delta."""
    server = Server(live=False)
    for seq in range(4, 4 + 4 * CATCHING_UP.size // len(PIECE)):
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


async def open_behind(server: Server, stack: AsyncExitStack) -> list[tuple[RunReader, list[int]]]:
    """Open readers from positions of their own, who find that there is more than they were given, which this is too."""
    opened = []
    for seq in range(1, READERS + 1):
        reader = await stack.enter_async_context(server.reader(LogPosition(1, seq)))
        chunk = await soon(reader.next())
        assert chunk is not None
        opened.append((reader, [number for number, *_ in singles(chunk.entries)]))
    return opened


async def test_those_who_are_far_behind_take_turns_and_all_come_to_the_end() -> None:
    server = long_log()
    last = server.log.batches["run"][-1].last_seq
    async with AsyncExitStack() as stack:
        behind = await open_behind(server, stack)
        server.log.queries.clear()
        tasks = [asyncio.create_task(read_on(reader, last)) for reader, _ in behind]
        most = 0
        while not all(task.done() for task in tasks):
            most = max(most, server.log.open_reads)
            await asyncio.sleep(0)
        for start, ((_, first), task) in enumerate(zip(behind, tasks, strict=True), 2):
            assert [*first, *await task] == list(range(start, last + 1))
    assert most == 1
    assert max(map(len, server.log.queries)) == CATCHING_UP.places
    assert server.log.reads >= 3 * READERS / CATCHING_UP.places, "it takes several pages"


async def test_who_follows_a_run_does_not_wait_for_those_who_are_far_behind() -> None:
    server = long_log()
    async with AsyncExitStack() as stack:
        behind = await open_behind(server, stack)
        server.log.answer.clear()
        server.log.queries.clear()
        held_up = [asyncio.create_task(reader.next()) for reader, _ in behind]
        await until(lambda: server.log.reads == 1)
        last = server.log.batches["run"][-1]
        following = await stack.enter_async_context(server.reader(LogPosition(1, last.last_seq - 1)))
        arriving = asyncio.create_task(following.next())
        await until(lambda: server.log.reads == 2)
        assert [len(places) for places in server.log.queries] == [CATCHING_UP.places, 1]
        server.log.answer.set()
        chunk = await soon(arriving)
        assert chunk is not None
        assert [seq for seq, *_ in singles(chunk.entries)] == [last.last_seq]
        await soon(asyncio.gather(*held_up))


async def test_each_pass_of_the_loop_has_a_few_turns_and_others_are_served_in_between() -> None:
    line, seen = Line(), []

    async def behind(name: str) -> None:
        await line.turn()
        seen.append(name)

    async def following() -> None:
        while len(seen) < 4 * TURNS:
            seen.append("-")
            await asyncio.sleep(0)

    await soon(asyncio.gather(*(behind(name) for name in NAMES), following()))
    turns = [len(list(same)) for name, same in itertools.groupby(seen, key=lambda name: name != "-") if name]
    assert [name for name in seen if name != "-"] == list(NAMES)
    assert turns == [TURNS] * (len(NAMES) // TURNS)


async def test_who_leaves_the_line_holds_nobody_up() -> None:
    line = Line()
    first, second, third = (asyncio.create_task(line.turn()) for _ in range(3))
    await asyncio.sleep(0)
    second.cancel()
    await soon(asyncio.gather(first, third))
    await soon(line.turn())


async def test_who_is_far_behind_comes_to_the_end_in_pieces_and_who_follows_is_served_between_them() -> None:
    server = Server()
    async with server.reader() as late:
        await soon(late.next())
        server.say(*("token " for _ in range(TOKENS)))
        async with server.reader(LogPosition(1, server.tail.last_seq)) as following:
            await soon(following.next())
            seen: list[str] = []

            async def catch_up() -> list[int]:
                numbers: list[int] = []
                while len(numbers) < TOKENS:
                    chunk = await late.next()
                    assert chunk is not None
                    pieces = singles(chunk.entries)
                    assert sum(len(what[2]) for *_, what in pieces if isinstance(what, tuple)) <= TURN_SIZE
                    numbers += [seq for seq, *_ in pieces]
                    seen.append("piece")
                    if len(seen) < 10:
                        server.say("!")
                return numbers

            async def follow() -> None:
                while await following.next():
                    seen.append("token")

            follower = asyncio.create_task(follow())
            numbers = await soon(catch_up())
            follower.cancel()
            await asyncio.wait((follower,))
    assert numbers[:TOKENS] == list(range(4, TOKENS + 4))
    assert seen[:8] == ["piece", "token"] * 4


async def test_who_is_hardly_behind_waits_for_nobody() -> None:
    server = Server()
    async with server.reader() as reader:
        await soon(reader.next())
        server.say(*("token " for _ in range(FAR_BEHIND)))
        waiting = [asyncio.create_task(server.readers.behind.turn()) for _ in range(50 * TURNS)]
        await asyncio.sleep(0)
        chunk = await soon(reader.next())
        assert chunk is not None
        assert len(singles(chunk.entries)) == FAR_BEHIND
        assert not waiting[-1].done()
        await soon(asyncio.gather(*waiting))
