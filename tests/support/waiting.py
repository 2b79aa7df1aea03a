"""Waits for what a test expects to happen, with a deadline that only a fault reaches."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

MINUTE = 60.0
Result = TypeVar("Result")


async def soon(work: Awaitable[Result]) -> Result:
    """Return what a piece of work gives; raises ``TimeoutError`` where it hangs."""
    async with asyncio.timeout(MINUTE):
        return await work


async def until(condition: Callable[[], bool]) -> None:
    """Return once a condition holds; raises ``TimeoutError`` where it never does."""
    async with asyncio.timeout(MINUTE):
        while not condition():  # noqa: ASYNC110 - a condition of any kind has no event to wait for
            await asyncio.sleep(0.001)


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return once a condition that takes a look elsewhere holds; raises ``TimeoutError`` where it never does."""
    async with asyncio.timeout(MINUTE):
        while not await condition():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.005)


def run_alone(work: Coroutine[Any, Any, Result]) -> Result:
    """Do a piece of work in an event loop of its own, for tests that hypothesis calls many times.

    Unlike ``asyncio.run`` it leaves the thread's loop as it is, which others may have set.
    """
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(work)
