"""Background work: the tasks that run for as long as a server does, each with an owner who hears of its end."""

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self


class BackgroundFault(Exception):
    """A task that was to run for as long as the server ended before it; its cause is chained."""


class Background:
    """Runs tasks within ``async with``; leaving cancels them and waits for their end."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self._ended = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The latest first: what was started later may use what was started before.
        for task in reversed(self._tasks):
            task.cancel()
            await asyncio.wait((task,))

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work``, which has no end of its own."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(lambda _: self._ended.set())
        self._tasks.append(task)

    async def wait_fault(self) -> None:
        """Wait until a task has ended by itself, and raise ``BackgroundFault`` for it."""
        await self._ended.wait()
        for task in self._tasks:
            if task.done():
                cause = None if task.cancelled() else task.exception()
                raise BackgroundFault(f"the task {task.get_name()!r} ended") from cause
