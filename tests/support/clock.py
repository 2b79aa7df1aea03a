"""Moves the time of an event loop, so that tests see long waits end without waiting."""

import asyncio


class Clock:
    """The clock of the running event loop, which may be put forward."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._ahead = 0.0
        true_time = loop.time
        loop.time = lambda: true_time() + self._ahead  # type: ignore[method-assign]

    async def advance(self, seconds: float) -> None:
        """Put the clock forward and let what is due by then happen."""
        self._ahead += seconds
        for _ in range(5):
            await asyncio.sleep(0)
