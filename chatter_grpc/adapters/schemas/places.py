"""Lends places to owners in turn, so that nobody waits for all that another one has asked for before."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Places:
    """So many places. Where they are taken, each that comes free goes to the next owner that waits, round and round."""

    def __init__(self, count: int) -> None:
        self._free = count
        # Owners in the order of their turns, each with its own in the order in which they came.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def place(self, owner_id: str) -> AsyncIterator[None]:
        """Have a place while the block lasts; waits for it."""
        await self._take(owner_id)
        try:
            yield
        finally:
            self._give_back()

    async def _take(self, owner_id: str) -> None:
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner_id, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            # The place may have come at the same moment; else the turn, which is cancelled, is passed over.
            if not turn.cancelled():
                self._give_back()
            raise

    def _give_back(self) -> None:
        while self._waiting:
            owner_id = next(iter(self._waiting))
            turns = self._waiting.pop(owner_id)
            turn = turns.popleft()
            if turns:
                self._waiting[owner_id] = turns
            if not turn.cancelled():
                turn.set_result(None)
                return
        self._free += 1
