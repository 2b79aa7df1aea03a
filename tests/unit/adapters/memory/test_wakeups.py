"""Wake-ups within one process."""

import asyncio

from chatter_grpc.adapters.memory.wakeups import MemoryWakeUps
from tests.support.waiting import soon


def test_those_who_subscribed_to_a_run_are_woken_and_no_others() -> None:
    wakeups, heard = MemoryWakeUps(), []
    wakeups.subscribe("one", lambda: heard.append("first of one"))
    wakeups.subscribe("one", lambda: heard.append("second of one"))
    wakeups.subscribe("two", lambda: heard.append("two"))
    wakeups.notify(("one", "nobody's"))
    assert heard == ["first of one", "second of one"]


def test_one_callback_may_subscribe_twice() -> None:
    wakeups, heard = MemoryWakeUps(), []
    leave = wakeups.subscribe("run", lambda: heard.append("heard"))
    wakeups.subscribe("run", lambda: heard.append("heard"))
    leave()
    wakeups.notify(("run",))
    assert heard == ["heard"]


def test_who_left_is_not_woken_and_leaves_nothing_behind() -> None:
    wakeups, heard = MemoryWakeUps(), []
    leave = wakeups.subscribe("run", lambda: heard.append("heard"))
    leave()
    leave()
    wakeups.notify(("run",))
    assert not heard
    assert not wakeups._subscribers


def test_a_subscriber_may_leave_and_subscribe_when_it_is_woken() -> None:
    wakeups, heard = MemoryWakeUps(), []

    def again() -> None:
        heard.append("first")
        leave()
        wakeups.subscribe("run", lambda: heard.append("second"))

    leave = wakeups.subscribe("run", again)
    wakeups.notify(("run",))
    wakeups.notify(("run",))
    assert heard == ["first", "second"]


async def test_everybody_is_woken_at_each_tick() -> None:
    wakeups = MemoryWakeUps(tick=0.001)
    ticks = asyncio.Semaphore(0)
    wakeups.subscribe("run", ticks.release)
    ticking = asyncio.create_task(wakeups.run())
    for _ in range(2):
        await soon(ticks.acquire())
    ticking.cancel()
    await asyncio.wait((ticking,))
    assert ticking.cancelled()
