"""Background work is cancelled by its owner, and its owner hears of an end that nobody asked for."""

import asyncio

import pytest

from chatter_grpc.core.background import Background, BackgroundFault
from tests.support.waiting import soon


async def sleep_on(log: list[str], name: str) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        log.append(name)


async def test_leaving_ends_all_tasks_the_latest_first() -> None:
    log: list[str] = []
    async with Background() as background:
        background.start("first", sleep_on(log, "first"))
        background.start("second", sleep_on(log, "second"))
        await asyncio.sleep(0)
    assert log == ["second", "first"]


async def test_a_task_that_fails_is_named_with_its_cause() -> None:
    async def fail() -> None:
        raise LookupError("gone")

    log: list[str] = []
    async with Background() as background:
        background.start("sleeper", sleep_on(log, "sleeper"))
        background.start("failing", fail())
        with pytest.raises(BackgroundFault, match="'failing'") as caught:
            await soon(background.wait_fault())
    assert isinstance(caught.value.__cause__, LookupError)
    assert log == ["sleeper"]


async def test_a_task_that_merely_ends_is_a_fault_too() -> None:
    async def end() -> None:
        await asyncio.sleep(0)

    async with Background() as background:
        background.start("ending", end())
        with pytest.raises(BackgroundFault, match="'ending'"):
            await soon(background.wait_fault())
