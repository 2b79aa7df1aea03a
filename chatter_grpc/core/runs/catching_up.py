"""Readers that are behind go on one after the other, so that those who follow their runs are served in between."""

import asyncio
from collections import deque
from typing import Final

# Who is so many events behind has more to take than what came since it looked last.
FAR_BEHIND: Final = 256
# What one of them takes in its turn, in characters: a fifth of a millisecond's work for the event loop.
TURN_SIZE: Final = 8 * 1024


class Line:
    """Those who wait for a turn: there is one in each pass of the event loop, which looks at its sockets in between."""

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
        while self._waiting:
            turn = self._waiting.popleft()
            # Who left meanwhile has no turn.
            if not turn.done():
                turn.set_result(None)
                break
        self._calling = bool(self._waiting)
        if self._calling:
            loop.call_soon(self._call_next, loop)
