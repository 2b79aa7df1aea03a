"""What each field of RunService's requests does."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from chatter_grpc._gen.chatter.v1 import run_pb2
from tests.acceptance.platform.effects.site import Effect, Site
from tests.support.fold import ClientFold
from tests.support.openai_plans import Plan
from tests.support.served import Stream, written


async def three_runs(site: Site) -> tuple[list[Stream], list[str]]:
    """Make two runs in one conversation, of which the second fails, and one in another."""
    places = [(await site.client.conversation()).id for _ in range(2)]
    site.provider.plan(Plan(text="one"), Plan(status=400), Plan(text="three"))
    streams = [await site.client.ask(place, "Hello") for place in (places[0], places[0], places[1])]
    assert [stream.fold.end for stream in streams] == ["completed", "failed", "completed"]
    return streams, places


async def listed(site: Site, **fields: Any) -> tuple[list[str], str]:
    """The ids of a page of runs, and the token of the next page."""
    page = await site.client.ok("ListRuns", **fields)
    return [run.id for run in page.runs], page.next_page_token


async def chooses_the_run(site: Site) -> None:
    streams, _ = await three_runs(site)
    for stream in streams:
        run = await site.client.run(stream.run_id)
        assert stream.fold.last is not None
        assert (run.id, run.last_seq, run.usage) == (stream.run_id, stream.fold.last.seq, stream.fold.usage)


async def bounds_the_page(site: Site) -> None:
    await three_runs(site)
    assert [len((await listed(site, page_size=size))[0]) for size in (1, 2, 3, 0, 9999)] == [1, 2, 3, 3, 3]


async def continues_the_list(site: Site) -> None:
    one, two, three = [stream.run_id for stream in (await three_runs(site))[0]]
    page, token = await listed(site, page_size=2)
    assert (page, await listed(site, page_token=token)) == ([three, two], ([one], ""))


async def keeps_a_conversation(site: Site) -> None:
    streams, places = await three_runs(site)
    one, two, three = [stream.run_id for stream in streams]
    assert [(await listed(site, conversation_id=place))[0] for place in places] == [[two, one], [three]]


async def keeps_a_state(site: Site) -> None:
    one, two, three = [stream.run_id for stream in (await three_runs(site))[0]]
    found = {state: (await listed(site, state=state))[0] for state in run_pb2.RunState.values()}
    assert found == {
        run_pb2.RUN_STATE_UNSPECIFIED: [three, two, one],
        run_pb2.RUN_STATE_RUNNING: [],
        run_pb2.RUN_STATE_COMPLETED: [three, one],
        run_pb2.RUN_STATE_FAILED: [two],
        run_pb2.RUN_STATE_CANCELLED: [],
        run_pb2.RUN_STATE_PENDING: [],
    }


async def chooses_what_is_watched(site: Site) -> None:
    streams, _ = await three_runs(site)
    for stream in streams:
        watched = site.client.open("WatchRun", run_id=stream.run_id)
        assert (await watched.to_end()).reason == ""
        assert (watched.run_id, watched.text, watched.fold.end) == (stream.run_id, stream.text, stream.fold.end)


async def goes_on_after_it(site: Site) -> None:
    site.provider.plan(Plan(tokens=30, delay=0.005))
    stream = await site.client.ask((await site.client.conversation()).id, "Hello")
    assert len(stream.frames) > 3
    seen = 0
    for frame in stream.frames[:-1]:
        seen = frame.events[-1].seq if frame.events else seen
        rest = site.client.open("WatchRun", run_id=stream.run_id, cursor=frame.cursor)
        assert (await rest.to_end()).reason == ""
        assert (rest.events[0].first_seq, rest.events[-1]) == (seen + 1, stream.events[-1])
    at_end = site.client.open("WatchRun", run_id=stream.run_id, cursor=stream.frames[-1].cursor)
    assert ((await at_end.to_end()).reason, at_end.events) == ("", [])
    forged = stream.frames[0].cursor.swapcase()
    assert await site.client.reason("WatchRun", run_id=stream.run_id, cursor=forged) == "CURSOR_INVALID"


async def chooses_what_is_cancelled(site: Site) -> None:
    gates = [site.provider.hold(after=1, text="one two") for _ in range(2)]
    places = [(await site.client.conversation()).id for _ in range(2)]
    one, two = [await site.client.send(place, "Hello").until(written(1)) for place in places]
    assert (await site.client.ok("CancelRun", run_id=two.run_id)).run.state == run_pb2.RUN_STATE_CANCELLED
    for gate in gates:
        gate.open()
    assert [(await stream.to_end()).reason for stream in (one, two)] == ["", ""]
    assert [stream.fold.end for stream in (one, two)] == ["completed", "cancelled"]
    assert await site.client.reason("CancelRun", run_id=one.run_id) == "RUN_ALREADY_FINISHED"


async def pages(site: Site, run_id: str, **fields: Any) -> list[Any]:
    """All pages of a run's events."""
    found = [await site.client.ok("ListRunEvents", run_id=run_id, **fields)]
    while not found[-1].finished:
        found.append(await site.client.ok("ListRunEvents", run_id=run_id, cursor=found[-1].cursor, **fields))
    return found


async def chooses_whose_events(site: Site) -> None:
    streams, _ = await three_runs(site)
    for stream in streams:
        fold = ClientFold()
        for page in await pages(site, stream.run_id):
            fold.take(page.events)
        assert (fold.end, fold.stored) == (stream.fold.end, stream.fold.stored)


async def bounds_the_events(site: Site) -> None:
    stream = (await three_runs(site))[0][0]
    kinds = [event.WhichOneof("event") for frame in await pages(site, stream.run_id) for event in frame.events]
    for size in (1, 2, 3):
        found = [len(page.events) for page in await pages(site, stream.run_id, page_size=size)]
        assert found[:-1] == [size] * (len(found) - 1)
        assert sum(found) == len(kinds)
    assert [len(page.events) for page in await pages(site, stream.run_id, page_size=9999)] == [len(kinds)]


async def continues_the_events(site: Site) -> None:
    stream = (await three_runs(site))[0][0]
    whole = [event for page in await pages(site, stream.run_id) for event in page.events]
    first = await site.client.ok("ListRunEvents", run_id=stream.run_id, page_size=2)
    rest = await site.client.ok("ListRunEvents", run_id=stream.run_id, cursor=first.cursor)
    assert [*first.events, *rest.events] == whole
    # The cursors of frames are taken, too.
    after = await site.client.ok("ListRunEvents", run_id=stream.run_id, cursor=stream.frames[-1].cursor)
    assert (list(after.events), after.finished) == ([], True)
    forged = first.cursor.swapcase()
    assert await site.client.reason("ListRunEvents", run_id=stream.run_id, cursor=forged) == "CURSOR_INVALID"


async def waits_for_events(site: Site) -> None:
    gate = site.provider.hold(after=1, text="one two")
    stream = await site.client.send((await site.client.conversation()).id, "Hello").until(written(1))
    asked = {"run_id": stream.run_id, "cursor": stream.frames[-1].cursor}
    for wait in ({}, {"seconds": 0}, {"nanos": 1}):
        page = await site.client.ok("ListRunEvents", **asked, wait=wait)
        assert (list(page.events), page.cursor, page.finished) == ([], asked["cursor"], False)
    waiting = asyncio.create_task(site.client.ok("ListRunEvents", **asked, wait={"seconds": 30}))
    gate.open()
    assert (await waiting).events[0].first_seq == stream.fold.seq + 1
    assert (await stream.to_end()).reason == ""
    for wait in ({"seconds": 31}, {"seconds": -1}, {"seconds": 30, "nanos": 1}, {"seconds": 1, "nanos": -1}):
        assert await site.client.reason("ListRunEvents", **asked, wait=wait) == "FIELD_INVALID", wait


EFFECTS: Final[Mapping[str, Effect]] = {
    "GetRun.run_id": chooses_the_run,
    "ListRuns.page_size": bounds_the_page,
    "ListRuns.page_token": continues_the_list,
    "ListRuns.conversation_id": keeps_a_conversation,
    "ListRuns.state": keeps_a_state,
    "WatchRun.run_id": chooses_what_is_watched,
    "WatchRun.cursor": goes_on_after_it,
    "ListRunEvents.run_id": chooses_whose_events,
    "ListRunEvents.page_size": bounds_the_events,
    "ListRunEvents.cursor": continues_the_events,
    "ListRunEvents.wait": waits_for_events,
    "CancelRun.run_id": chooses_what_is_cancelled,
}
