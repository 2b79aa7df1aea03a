"""What every ``WakeUps`` does, within one process and between several."""

import asyncio

import pytest

from chatter_grpc.core.ids import RUN, new_id
from chatter_grpc.core.runs.wakeups import PENDING_RUNS
from tests.support.waiting import soon, until
from tests.support.wakeups import Processes


def test_those_who_subscribed_to_a_run_are_woken_at_once_and_no_others(processes: Processes) -> None:
    heard: list[str] = []
    processes.one.subscribe("one", lambda: heard.append("first of one"))
    processes.one.subscribe("one", lambda: heard.append("second of one"))
    processes.one.subscribe("two", lambda: heard.append("two"))
    processes.one.notify(("one", "nobody's"))
    assert heard == ["first of one", "second of one"]


async def test_who_left_is_not_woken(processes: Processes) -> None:
    heard: list[str] = []
    stayed = asyncio.Event()
    leave = processes.two.subscribe("run", lambda: heard.append("left"))
    processes.two.subscribe("run", stayed.set)
    leave()
    leave()
    processes.one.notify(("run",))
    await soon(stayed.wait())
    assert not heard


async def test_those_in_other_processes_are_woken(processes: Processes) -> None:
    if not processes.shared:
        pytest.skip("this adapter declares that it knows one process")
    for here, there in ((processes.one, processes.two), (processes.two, processes.one)):
        woken, pending = asyncio.Event(), asyncio.Event()
        there.subscribe("run", woken.set)
        there.subscribe(PENDING_RUNS, pending.set)
        here.notify(("other", "run"))
        await soon(woken.wait())
        assert not pending.is_set()
        here.notify((PENDING_RUNS,))
        await soon(pending.wait())


async def test_as_many_runs_as_a_process_has_are_woken(processes: Processes) -> None:
    run_ids = [new_id(RUN) for _ in range(2_000)]
    heard: set[str] = set()
    for run_id in run_ids:
        processes.two.subscribe(run_id, lambda run_id=run_id: heard.add(run_id))  # type: ignore[misc]
    processes.one.notify(run_ids)
    await until(lambda: len(heard) == len(run_ids))


async def test_nobody_is_woken_twice_by_one_notification(processes: Processes) -> None:
    """What comes back to the process that sent it is not taken for news."""
    heard: list[str] = []
    last = asyncio.Event()
    processes.one.subscribe("run", lambda: heard.append("run"))
    processes.one.notify(("run",))
    # Whatever came back from the first trip came before this one has arrived and been answered.
    processes.two.subscribe("there", lambda: processes.two.notify(("back",)))
    processes.one.subscribe("back", last.set)
    processes.one.notify(("there",))
    await soon(last.wait())
    assert heard == ["run"]
