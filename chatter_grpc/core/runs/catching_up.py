"""Readers that are behind go on one after the other, so that those who follow their runs are served in between."""

import asyncio
from collections import deque
from typing import Final

# Who is so many events behind has more to take than what came since it looked last.
FAR_BEHIND: Final = 256
# What one of them takes in its turn, in characters, and how many have a turn in one pass of the event loop: together a
# millisecond's work at most, and a fifth of that where deltas are kept joined.
TURN_SIZE: Final = 16 * 1024
TURNS: Final = 4


class Line:
    """Those who wait for a turn: a few have theirs in each pass of the event loop, which then looks at its sockets."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._calling = False

    async def turn(self) -> None:
        """Wait until all have had a turn who came before."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        if not self._calling:
            self._calling = True
            loop.call_soon(self._call_next, loop)
        await turn

    def _call_next(self, loop: asyncio.AbstractEventLoop) -> None:
        called = 0
        while self._waiting and called < TURNS:
            turn = self._waiting.popleft()
            # Who left meanwhile has no turn.
            if not turn.done():
                turn.set_result(None)
                called += 1
        self._calling = bool(self._waiting)
        if self._calling:
            loop.call_soon(self._call_next, loop)
