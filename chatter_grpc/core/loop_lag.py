"""Measures how late the event loop comes to what is due: what blocks it shows here first."""

import asyncio
from typing import Final

from chatter_grpc.core.observation import Observer

INTERVAL: Final = 0.25


class LoopLag:
    """Tells an observer, again and again, by how much a timer was late."""

    def __init__(self, observer: Observer, interval: float = INTERVAL) -> None:
        self._observer = observer
        self._interval = interval

    async def run(self) -> None:
        """Measure; has no end of its own."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self._interval
            await asyncio.sleep(self._interval)
            self._observer.loop_lagged(max(0.0, loop.time() - due))
