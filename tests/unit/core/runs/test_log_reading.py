"""Reading for all readers of a process: who shares a query, who waits for one, and what becomes of those who leave."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextvars import ContextVar

import pytest

from chatter_grpc.core.errors import StorageUnavailable
from chatter_grpc.core.runs import log_reading
from chatter_grpc.core.runs.events import Batch, DeltaKind, Deltas, Entry
from chatter_grpc.core.runs.log_reading import CATCHING_UP, FOLLOWING, LogReading, Pace
from chatter_grpc.core.runs.run import LogPosition
from chatter_grpc.core.runs.run_logs import LogPart, LogPlace
from tests.support.run_logs import MemoryLog
from tests.support.waiting import soon, until

CALLED: ContextVar[str] = ContextVar("called")


def entry_of(seq: int) -> Entry:
    return Entry(seq, 1, "1.1", 0, Deltas(DeltaKind.TEXT, "m", ["x"]))


def place(number: int, seq: int = 0) -> LogPlace:
    return LogPlace(f"run_{number}", LogPosition(1, seq))


class Asked:
    """A log of many runs, an event in each, and those who asked for some of them."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.log.batches = {f"run_{number}": [Batch(f"run_{number}", 1, (entry_of(1),))] for number in range(200)}
        self.reading = LogReading(self.log.storage)

    def ask(self, *places: LogPlace, pace: Pace = FOLLOWING) -> list["asyncio.Task[LogPart]"]:
        return [asyncio.create_task(self.reading.read(each, pace)) for each in places]

    async def hold(self, *places: LogPlace) -> list["asyncio.Task[LogPart]"]:
        """Ask, and return when the query is under way, which then waits until ``release``."""
        before = self.log.reads
        self.log.answer.clear()
        asked = self.ask(*places)
        await until(lambda: self.log.reads == before + 1)
        return asked

    def break_at(self, number: int) -> None:
        """Break the connection of one query, by how many there were with it."""

        def answer() -> None:
            if self.log.reads == number:
                raise StorageUnavailable

        self.log.at_answer = answer

    def release(self) -> None:
        self.log.answer.set()


@pytest.fixture
async def asked() -> AsyncIterator[Asked]:
    made = Asked()
    yield made
    made.release()
    await made.reading.close()


async def refused(tasks: Sequence["asyncio.Task[LogPart]"]) -> None:
    for error in await soon(asyncio.gather(*tasks, return_exceptions=True)):
        assert isinstance(error, StorageUnavailable)


async def test_who_asks_alone_is_answered_at_once(asked: Asked) -> None:
    assert await soon(asked.reading.read(place(1), FOLLOWING)) == LogPart([entry_of(1)])
    assert asked.log.queries == [(place(1),)]


async def test_those_who_are_woken_together_share_a_query(asked: Asked) -> None:
    places = [place(number) for number in range(FOLLOWING.places)]
    parts = await soon(asyncio.gather(*asked.ask(*places)))
    assert parts == [LogPart([entry_of(1)])] * len(places)
    assert asked.log.queries == [tuple(places)]


async def test_those_who_come_while_a_query_is_under_way_share_the_next(asked: Asked) -> None:
    first = await asked.hold(place(1))
    others = asked.ask(place(2), place(3), place(4, 1))
    asked.release()
    assert await soon(asyncio.gather(*first, *others)) == [*[LogPart([entry_of(1)])] * 3, LogPart([])]
    assert asked.log.queries == [(place(1),), (place(2), place(3), place(4, 1))]


async def test_readers_at_one_position_share_what_is_read(asked: Asked) -> None:
    first, second = await soon(asyncio.gather(*asked.ask(place(1), place(1))))
    assert first is second
    assert asked.log.queries == [(place(1),)]


async def test_nobody_is_given_what_was_read_before_they_asked(asked: Asked) -> None:
    (early,) = await asked.hold(place(1))
    asked.log.batches["run_1"].append(Batch("run_1", 1, (entry_of(2),)))
    (late,) = asked.ask(place(1))
    asked.release()
    assert (await soon(early)).entries == [entry_of(1)]
    assert (await soon(late)).entries == [entry_of(1), entry_of(2)]


async def test_a_query_is_bounded_and_those_who_waited_longest_come_first(asked: Asked) -> None:
    places = [place(number) for number in range(2 * FOLLOWING.places + 5)]
    await soon(asyncio.gather(*asked.ask(*places)))
    assert [len(query) for query in asked.log.queries] == [FOLLOWING.places, FOLLOWING.places, 5]
    assert [each for query in asked.log.queries for each in query] == places


async def test_those_of_one_pace_do_not_wait_for_those_of_another(asked: Asked) -> None:
    await asked.hold(place(1))
    behind = asked.ask(place(1), pace=CATCHING_UP)
    await until(lambda: asked.log.reads == 2)
    asked.release()
    await soon(asyncio.gather(*behind))


async def test_who_leaves_costs_the_others_nothing(asked: Asked) -> None:
    under_way = await asked.hold(place(1), place(2))
    waiting = asked.ask(place(3), place(3), place(4))
    await asyncio.sleep(0)
    for leaving in (under_way[0], waiting[0], waiting[2]):
        leaving.cancel()
    await asyncio.sleep(0)
    asked.release()
    for staying in (under_way[1], waiting[1]):
        assert await soon(staying) == LogPart([entry_of(1)])
    assert asked.log.queries[1:] == [(place(3),)], "nobody asks for those who are gone"


async def test_when_all_who_wait_have_left_nothing_is_asked(asked: Asked) -> None:
    under_way = await asked.hold(place(1))
    waiting = asked.ask(place(2))
    await asyncio.sleep(0)
    waiting[0].cancel()
    asked.release()
    await soon(asyncio.gather(*under_way))
    assert asked.log.reads == 1
    assert await soon(asked.reading.read(place(3), FOLLOWING)) == LogPart([entry_of(1)])


async def test_a_connection_that_breaks_costs_those_who_asked_over_it_and_nobody_who_waits(asked: Asked) -> None:
    under_way = await asked.hold(place(1))
    asked.break_at(1)
    waiting = asked.ask(place(2), place(3))
    await asyncio.sleep(0)
    asked.release()
    await refused(under_way)
    for answer in waiting:
        assert await soon(answer) == LogPart([entry_of(1)])


async def test_a_storage_that_takes_long_to_fail_is_away_for_all_who_wait_and_back_for_later_ones(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_reading, "SLOW_SECONDS", 0)
    under_way = await asked.hold(place(1))
    waiting = asked.ask(*(place(number) for number in range(2, 2 + 2 * FOLLOWING.places)))
    await asyncio.sleep(0)
    asked.log.away = True
    asked.release()
    assert await soon(under_way[0]) == LogPart([entry_of(1)])
    await refused(waiting)
    assert asked.log.reads == 1, "nobody asked for the second half of those who waited"
    asked.log.away = False
    assert await soon(asked.reading.read(place(2), FOLLOWING)) == LogPart([entry_of(1)])


async def test_a_query_without_an_end_is_given_up(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_reading, "QUERY_SECONDS", 0.05)
    under_way = await asked.hold(place(1), place(2))
    waiting = asked.ask(place(3))
    await refused([*under_way, *waiting])
    assert asked.log.open_reads == 0


async def test_a_log_that_cannot_be_read_costs_the_readers_of_no_other(asked: Asked) -> None:
    asked.log.unreadable = "run_2"
    one, two, again, three = asked.ask(place(1), place(2), place(2), place(3))
    for readable in (one, three):
        assert await soon(readable) == LogPart([entry_of(1)])
    for failed in (two, again):
        with pytest.raises(ValueError, match="unreadable"):
            await soon(failed)
    assert await soon(asked.reading.read(place(3), FOLLOWING)) == LogPart([entry_of(1)])


async def test_a_storage_that_goes_away_while_each_is_asked_for_alone_is_not_asked_for_the_rest(asked: Asked) -> None:
    asked.log.unreadable = "run_2"
    asked.break_at(4)
    tasks = asked.ask(*(place(number) for number in range(1, 20)))
    answers = await soon(asyncio.gather(*tasks, return_exceptions=True))
    assert answers[0] == LogPart([entry_of(1)])
    assert isinstance(answers[1], ValueError)
    assert all(isinstance(answer, StorageUnavailable) for answer in answers[2:])
    assert asked.log.reads == 4


@pytest.mark.parametrize("turns", [0, 1, 2, 5])
async def test_nobody_waits_for_ever_for_one_that_ends_however_early(asked: Asked, turns: int) -> None:
    tasks = asked.ask(place(1))
    for _ in range(turns):
        await asyncio.sleep(0)
    await soon(asked.reading.close())
    (answer,) = await soon(asyncio.gather(*tasks, return_exceptions=True))
    assert isinstance(answer, StorageUnavailable) or answer == LogPart([entry_of(1)])


async def test_who_asks_at_a_new_pace_while_it_ends_is_refused(asked: Asked) -> None:
    under_way = await asked.hold(place(1))
    closing = asyncio.create_task(asked.reading.close())
    await asyncio.sleep(0)
    with pytest.raises(StorageUnavailable):
        await soon(asked.reading.read(place(2), CATCHING_UP))
    await soon(closing)
    await refused(under_way)


async def test_a_query_belongs_to_no_call_of_those_who_asked(asked: Asked) -> None:
    seen: list[str] = []
    asked.log.at_answer = lambda: seen.append(CALLED.get("by nobody"))
    CALLED.set("by ada")
    await soon(asked.reading.read(place(1), FOLLOWING))
    assert seen == ["by nobody"]


async def test_who_still_waits_at_the_end_is_told_so_and_no_task_is_left(asked: Asked) -> None:
    under_way = await asked.hold(place(1))
    waiting = asked.ask(place(2))
    await asyncio.sleep(0)
    await soon(asked.reading.close())
    await refused([*under_way, *waiting])
    assert asked.log.open_reads == 0
    with pytest.raises(StorageUnavailable):
        await soon(asked.reading.read(place(3), FOLLOWING))
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "reading of logs"]
