"""Readers of runs: where they read, when they wait, and what they say of themselves."""

import asyncio
from contextlib import suppress

import pytest

from chatter_grpc.adapters.memory.wakeups import MemoryWakeUps
from chatter_grpc.core.errors import SessionRevoked, StorageUnavailable
from chatter_grpc.core.runs.events import (
    Batch,
    DeltaKind,
    Deltas,
    Entry,
)
from chatter_grpc.core.runs.reader import FRAME_SIZE, Chunk, Control, RunReader
from chatter_grpc.core.runs.run import LogPosition
from chatter_grpc.core.runs.writer import MAX_DELTA
from tests.support.reading import BEGINNING, COMPLETED, FAILED, FIRST, Server
from tests.support.run_logs import singles
from tests.support.waiting import soon, until


def numbers(chunk: Chunk | None) -> list[int]:
    assert chunk is not None
    return [seq for seq, *_ in singles(chunk.entries)]


async def settled(task: "asyncio.Task[Chunk | None]") -> bool:
    """Let everything happen that does not wait for something else, and say whether the task is done."""
    for _ in range(10):
        await asyncio.sleep(0)
    return task.done()


async def rest_of(reader: RunReader) -> list[Chunk]:
    found = []
    while (chunk := await soon(reader.next())) is not None:
        found.append(chunk)
    return found


async def test_the_first_chunk_comes_at_once_and_says_that_it_has_caught_up() -> None:
    server = Server()
    async with server.reader() as reader:
        chunk = await soon(reader.next())
    assert chunk == Chunk(FIRST, LogPosition(1, 3), Control.CAUGHT_UP)
    assert server.log.reads == 0, "a run that is at work here is read from memory"


async def test_a_delta_wakes_the_reader_and_comes_without_another_control() -> None:
    server = Server()
    async with server.reader() as reader:
        await soon(reader.next())
        waiting = asyncio.create_task(reader.next())
        assert not await settled(waiting)
        server.say("a")
        chunk = await soon(waiting)
    assert chunk is not None
    assert (numbers(chunk), chunk.position, chunk.control) == ([4], LogPosition(1, 4), None)


async def test_what_gathers_while_a_reader_is_slow_comes_at_once() -> None:
    server = Server()
    async with server.reader() as reader:
        await soon(reader.next())
        server.say(*"abcdef")
        assert numbers(await soon(reader.next())) == [4, 5, 6, 7, 8, 9]


async def test_a_stream_ends_after_the_last_event() -> None:
    server = Server()
    async with server.reader() as reader:
        await soon(reader.next())
        await server.end()
        chunk = await soon(reader.next())
        assert chunk is not None
        assert chunk.entries[-1].body == COMPLETED
        assert await soon(reader.next()) is None
        assert await soon(reader.next()) is None


async def test_a_run_that_has_ended_is_read_from_the_database_and_is_caught_up_once() -> None:
    server = Server()
    server.say("a", "b")
    await server.end()
    server.live = False
    async with server.reader() as reader:
        chunks = await rest_of(reader)
    assert [number for chunk in chunks for number in numbers(chunk)] == [1, 2, 3, 4, 5, 6]
    assert [chunk.control for chunk in chunks if chunk.control] == [Control.CAUGHT_UP]


async def test_a_reader_that_is_opened_as_the_run_ends_gets_everything() -> None:
    server = Server()
    server.say("a")
    server.tail.append("", COMPLETED)
    async with server.reader() as reader:
        assert numbers(await soon(reader.next())) == [1, 2, 3, 4], "the end is a barrier, and not committed yet"
        waiting = asyncio.create_task(reader.next())
        assert not await settled(waiting)
        server.live = False
        await server.commit()
        assert numbers(await soon(waiting)) == [5]
        assert await soon(reader.next()) is None


async def test_a_reader_from_a_position_gets_what_comes_after_it() -> None:
    server = Server()
    server.say("a", "b", "c")
    async with server.reader(LogPosition(1, 5)) as reader:
        assert numbers(await soon(reader.next())) == [6]


async def test_a_position_behind_the_last_event_of_a_run_is_the_end_of_the_stream() -> None:
    server = Server()
    await server.end()
    async with RunReader(server.readers, "run", LogPosition(1, 4), complete=True) as reader:
        assert await rest_of(reader) == [Chunk((), LogPosition(1, 4), Control.CAUGHT_UP)]


async def test_a_run_that_has_ended_is_read_to_its_end_also_while_its_tail_does_not_know() -> None:
    server = Server()
    server.say("a")
    server.tail.append("", COMPLETED)
    batch = server.tail.take()
    assert batch is not None
    await server.log.commit([batch])
    async with RunReader(server.readers, "run", BEGINNING, complete=True) as reader:
        chunks = await rest_of(reader)
    assert [number for chunk in chunks for number in numbers(chunk)] == [1, 2, 3, 4, 5]


async def test_a_reader_far_behind_reads_the_database_and_then_the_tail() -> None:
    server = Server(kept=0)
    for letter in "abcdef":
        server.say(letter)
        await server.commit()
    server.say("g")
    async with server.reader() as reader:
        found: list[int] = []
        while len(found) < 10:
            found += numbers(await soon(reader.next()))
    assert found == list(range(1, 11))
    assert server.log.reads > 0


async def test_a_reader_elsewhere_reads_when_it_is_woken() -> None:
    server = Server(live=False)
    async with server.reader() as reader:
        assert numbers(await soon(reader.next())) == [1, 2, 3]
        caught_up = await soon(reader.next())
        assert caught_up is not None
        assert caught_up.control is Control.CAUGHT_UP
        waiting = asyncio.create_task(reader.next())
        server.say("a")
        assert not await settled(waiting), "what is not committed cannot be seen from elsewhere"
        await server.commit()
        assert numbers(await soon(waiting)) == [4]


async def test_a_reader_elsewhere_that_has_caught_up_reads_once_for_each_commit() -> None:
    server = Server(live=False)
    async with server.reader() as reader:
        await soon(reader.next())
        await soon(reader.next())
        waiting = asyncio.create_task(reader.next())
        assert not await settled(waiting)
        before = server.log.reads
        for letter in "abc":
            server.say(letter)
            await server.commit()
            assert len(numbers(await soon(waiting))) == 1
            waiting = asyncio.create_task(reader.next())
            assert not await settled(waiting)
        assert server.log.reads == before + 3
        waiting.cancel()


async def test_what_is_committed_while_a_reader_reads_is_read_next() -> None:
    server = Server(live=False)
    async with server.reader() as reader:
        await soon(reader.next())
        await soon(reader.next())
        server.log.answer.clear()
        server.say("a")
        await server.commit()
        waiting = asyncio.create_task(reader.next())
        await until(lambda: server.log.reads == 3)
        server.say("b")
        await server.commit()
        server.log.answer.set()
        assert numbers(await soon(waiting)) == [4]
        assert numbers(await soon(reader.next())) == [5]


async def test_a_lost_wake_up_costs_until_the_next_tick() -> None:
    server = Server(live=False)
    server.wakeups = server.readers.wakeups = MemoryWakeUps(tick=0.001)
    ticking = asyncio.create_task(server.wakeups.run())
    async with server.reader() as reader:
        await soon(reader.next())
        await soon(reader.next())
        waiting = asyncio.create_task(reader.next())
        await settled(waiting)
        server.log.batches["run"].append(Batch("run", 1, (Entry(4, 1, "", 0, COMPLETED),)))
        assert numbers(await soon(waiting)) == [4]
    ticking.cancel()
    with suppress(asyncio.CancelledError):
        await ticking


async def test_a_run_that_begins_to_be_at_work_here_is_followed() -> None:
    server = Server(live=False)
    async with server.reader() as reader:
        await soon(reader.next())
        await soon(reader.next())
        waiting = asyncio.create_task(reader.next())
        await settled(waiting)
        server.live = True
        server.say("a")
        await server.commit()
        assert numbers(await soon(waiting)) == [4]
        server.say("b")
        assert numbers(await soon(reader.next())) == [5], "not committed, and seen at once"


async def test_a_wake_up_during_a_look_at_the_database_is_not_lost() -> None:
    server = Server(live=False)
    async with server.reader() as reader:
        await soon(reader.next())
        await soon(reader.next())
        server.log.answer.clear()
        waiting = asyncio.create_task(reader.next())
        await until(lambda: server.log.reads == 3)
        await settled(waiting)
        server.log.batches["run"].append(Batch("run", 1, (Entry(4, 1, "", 0, COMPLETED),)))
        server.wakeups.notify(("run",))
        server.log.answer.set()
        assert numbers(await soon(waiting)) == [4], "the answer was older than the news"


async def test_readers_of_a_lost_run_go_on_with_what_the_next_attempt_wrote() -> None:
    server = Server()
    async with server.reader() as reader:
        await soon(reader.next())
        server.say("a")
        await server.commit()
        server.say("never committed")
        assert numbers(await soon(reader.next())) == [4, 5]
        server.tail.mark_lost()
        server.say("dropped")
        waiting = asyncio.create_task(reader.next())
        assert not await settled(waiting)
        server.log.batches["run"].append(Batch("run", 2, (Entry(5, 2, "", 0, FAILED),)))
        server.wakeups.notify(("run",))
        chunk = await soon(waiting)
        assert chunk is not None
        assert [entry.body for entry in chunk.entries] == [FAILED]
        assert chunk.position == LogPosition(2, 5)
        assert await soon(reader.next()) is None


async def test_a_reader_holds_no_transaction_while_it_waits() -> None:
    server = Server(live=False)
    async with server.reader() as reader:
        for _ in range(2):
            await soon(reader.next())
            assert server.log.open_reads == 0, "nor while the client takes its time"
        waiting = asyncio.create_task(reader.next())
        assert not await settled(waiting)
        assert server.log.reads == 3
        assert server.log.open_reads == 0
        waiting.cancel()
        await asyncio.wait((waiting,))


async def test_the_batch_of_a_provider_that_sends_much_at_once_comes_in_frames_that_fit() -> None:
    server = Server(live=False)
    pieces = ["😀" * MAX_DELTA] * 16
    server.log.batches["run"].append(Batch("run", 1, (Entry(4, 1, "1.1", 0, Deltas(DeltaKind.TEXT, "m", pieces)),)))
    server.log.batches["run"].append(Batch("run", 1, (Entry(20, 1, "", 0, COMPLETED),)))
    async with server.reader() as reader:
        chunks = await rest_of(reader)
    assert [number for chunk in chunks for number in numbers(chunk)] == list(range(1, 21))
    for chunk in chunks:
        assert sum(len(what[2]) for *_, what in singles(chunk.entries) if isinstance(what, tuple)) <= FRAME_SIZE


async def test_two_readers_of_a_run_do_not_notice_each_other() -> None:
    server = Server(kept=0)
    async with server.reader() as fast, server.reader() as slow:
        seen = numbers(await soon(fast.next()))
        for letter in "abcdef":
            server.say(letter)
            seen += numbers(await soon(fast.next()))
            await server.commit()
        await server.end()
        seen += numbers(await soon(fast.next()))
        late = [number for chunk in await rest_of(slow) for number in numbers(chunk)]
    assert seen == late == list(range(1, 11))


async def test_silence_is_broken_by_heartbeats() -> None:
    server = Server(heartbeat=0)
    async with server.reader() as reader:
        await soon(reader.next())
        heard = await soon(reader.next())
        assert heard == Chunk((), LogPosition(1, 3), Control.HEARTBEAT)
        server.say("a")
        chunk = await soon(reader.next())
        assert chunk is not None
        assert (numbers(chunk), chunk.control) == ([4], None)


async def test_a_server_that_stops_hands_its_readers_off_with_their_cursor() -> None:
    server = Server()
    async with server.reader() as reader:
        await soon(reader.next())
        waiting = asyncio.create_task(reader.next())
        await settled(waiting)
        server.readers.hand_off()
        assert await soon(waiting) == Chunk((), LogPosition(1, 3), Control.HAND_OFF)
        assert await soon(reader.next()) is None


async def test_a_reader_that_comes_during_the_stop_gets_what_there_is_and_is_handed_off() -> None:
    server = Server()
    server.readers.hand_off()
    async with server.reader() as reader:
        chunks = await rest_of(reader)
    assert [chunk.control for chunk in chunks] == [Control.CAUGHT_UP, Control.HAND_OFF]
    assert chunks[-1].position == LogPosition(1, 3)


async def test_a_reader_at_the_end_of_a_run_is_not_handed_off() -> None:
    server = Server()
    await server.end()
    server.readers.hand_off()
    async with server.reader() as reader:
        chunks = await rest_of(reader)
    assert [chunk.control for chunk in chunks] == [Control.CAUGHT_UP]


async def test_a_reader_whose_caller_is_no_longer_trusted_ends_with_the_reason() -> None:
    server = Server()
    async with server.reader() as reader:
        await soon(reader.next())
        waiting = asyncio.create_task(reader.next())
        await settled(waiting)
        reader.fail(SessionRevoked())
        with pytest.raises(SessionRevoked):
            await soon(waiting)


async def test_a_database_that_is_away_ends_the_readers_that_need_it() -> None:
    server = Server(live=False)
    server.log.away = True
    async with server.reader() as reader:
        with pytest.raises(StorageUnavailable):
            await soon(reader.next())
    server.live = True
    async with server.reader() as reader:
        assert numbers(await soon(reader.next())) == [1, 2, 3], "those that do not need it do not notice"


async def test_a_reader_that_was_cancelled_while_it_waited_goes_on_where_it_was() -> None:
    server = Server()
    async with server.reader() as reader:
        await soon(reader.next())
        waiting = asyncio.create_task(reader.next())
        await settled(waiting)
        waiting.cancel()
        await asyncio.wait((waiting,))
        server.say("a")
        assert numbers(await soon(reader.next())) == [4]


async def test_a_reader_that_left_leaves_nothing_behind() -> None:
    server = Server()
    async with server.reader() as reader:
        await soon(reader.next())
        assert (bool(server.wakeups._subscribers), server.readers.open) == (True, {reader})
    left = (server.wakeups._subscribers, server.readers.open, server.tail._watchers)
    assert not any(left)
