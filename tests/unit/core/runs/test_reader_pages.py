"""Pages of a run's events: what is there comes at once, what is not is waited for, and not for longer than asked."""

import asyncio

import pytest

from chatter_grpc.core.errors import SessionRevoked
from chatter_grpc.core.runs.events import DeltaKind, Deltas, Entry
from chatter_grpc.core.runs.reader import Page, RunReader, first_events
from chatter_grpc.core.runs.run import LogPosition
from tests.support.reading import BEGINNING, COMPLETED, FIRST, Server
from tests.support.run_logs import singles
from tests.support.waiting import MINUTE, soon

AT_END = LogPosition(1, 3)


async def page_of(server: Server, position: LogPosition = BEGINNING, count: int = 50, wait: float = 0) -> Page:
    async with server.reader(position) as reader:
        page = await soon(reader.page(count, wait))
    assert not server.readers.open
    assert server.log.open_reads == 0
    return page


def waiting_for(server: Server, position: LogPosition = AT_END) -> "asyncio.Task[Page]":
    return asyncio.create_task(page_of(server, position, wait=MINUTE * 10))


async def settle() -> None:
    """Let everything happen that does not wait for something else."""
    for _ in range(10):
        await asyncio.sleep(0)


def numbers(page: Page) -> list[int]:
    return [seq for seq, *_ in singles(page.entries)]


@pytest.mark.parametrize("live", [True, False], ids=["here", "elsewhere"])
async def test_what_is_there_comes_at_once(live: bool) -> None:
    page = await page_of(Server(live=live), wait=MINUTE * 10)
    assert page == Page(FIRST, AT_END, handed_off=False, finished=False)


@pytest.mark.parametrize("live", [True, False], ids=["here", "elsewhere"])
async def test_an_empty_page_comes_when_the_wait_is_over(live: bool) -> None:
    server = Server(live=live)
    for wait in (0, 0.001):
        assert await page_of(server, AT_END, wait=wait) == Page((), AT_END, handed_off=False, finished=False)


@pytest.mark.parametrize("live", [True, False], ids=["here", "elsewhere"])
async def test_a_page_comes_as_soon_as_there_is_something(live: bool) -> None:
    server = Server(live=live)
    waiting = waiting_for(server)
    await settle()
    assert not waiting.done()
    server.say("a")
    await server.commit()
    page = await soon(waiting)
    assert (numbers(page), page.position, page.finished) == ([4], LogPosition(1, 4), False)


async def test_a_page_that_waits_holds_no_transaction() -> None:
    server = Server(live=False)
    waiting = waiting_for(server)
    await settle()
    assert (waiting.done(), server.log.open_reads) == (False, 0)
    waiting.cancel()
    await asyncio.wait((waiting,))
    assert not server.readers.open


@pytest.mark.parametrize("live", [True, False], ids=["here", "elsewhere"])
async def test_the_page_with_the_last_event_is_the_last_one(live: bool) -> None:
    server = Server(live=live)
    server.say("a", "b")
    await server.end()
    pages = [await page_of(server, count=1)]
    while not pages[-1].finished:
        pages.append(await page_of(server, pages[-1].position, count=1))
    # The two deltas make one event.
    assert [numbers(page) for page in pages] == [[1], [2], [3], [4, 5], [6]]
    assert [page.entries[-1].body for page in pages[-1:]] == [COMPLETED]


async def test_behind_the_last_event_there_is_nothing_to_wait_for() -> None:
    server = Server(live=False)
    await server.end()
    async with RunReader(server.readers, "run", LogPosition(1, 4), complete=True) as reader:
        page = await soon(reader.page(50, MINUTE * 10))
    assert page == Page((), LogPosition(1, 4), handed_off=False, finished=True)


async def test_a_server_that_stops_answers_at_once_and_says_so() -> None:
    server = Server()
    waiting = waiting_for(server)
    await settle()
    server.readers.hand_off_elsewhere()
    await settle()
    assert not waiting.done(), "the run is at work here, and about to go on or to end"
    server.readers.hand_off()
    assert await soon(waiting) == Page((), AT_END, handed_off=True, finished=False)
    assert (await page_of(server, AT_END, wait=MINUTE * 10)).handed_off, "so do those who come later"


async def test_a_server_that_is_about_to_stop_sends_those_away_who_wait_for_a_run_elsewhere() -> None:
    server = Server(live=False)
    waiting = waiting_for(server)
    await settle()
    server.readers.hand_off_elsewhere()
    assert (await soon(waiting)).handed_off


async def test_a_run_that_has_ended_is_finished_also_where_the_server_stops() -> None:
    server = Server()
    await server.end()
    server.readers.hand_off()
    page = await page_of(server)
    assert (page.finished, page.handed_off) == (True, False)


async def test_a_caller_who_is_no_longer_trusted_waits_no_longer() -> None:
    server = Server()
    async with server.reader(AT_END) as reader:
        waiting = asyncio.create_task(reader.page(50, MINUTE * 10))
        await settle()
        reader.fail(SessionRevoked())
        with pytest.raises(SessionRevoked):
            await soon(waiting)


def test_entries_are_counted_as_they_are_merged() -> None:
    deltas = [
        Entry(seq, attempt, step_id, 0, Deltas(kind, message_id, ["x"]))
        for seq, (attempt, step_id, kind, message_id) in enumerate(
            [
                (1, "a", DeltaKind.TEXT, "m"),
                (1, "a", DeltaKind.TEXT, "m"),
                (1, "a", DeltaKind.REASONING, "m"),
                (1, "a", DeltaKind.TEXT, "m"),
                (1, "b", DeltaKind.TEXT, "m"),
                (2, "b", DeltaKind.TEXT, "m"),
                (2, "b", DeltaKind.TEXT, "n"),
                (2, "b", DeltaKind.TEXT, "n"),
            ],
            4,
        )
    ]
    entries = (*FIRST, *deltas)
    ends = [len(first_events(entries, count)) for count in range(1, 11)]
    assert ends == [1, 2, 3, 5, 6, 7, 8, 9, 11, 11]
