"""How long whoever writes for a run tries again while the database is away."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from chatter_grpc.core.errors import StorageUnavailable

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Tries for ``give_up_after`` seconds, with ``pause`` seconds between."""

    give_up_after: float = 20.0
    pause: float = 0.2

    async def insist(self, attempt: Callable[[bool], Awaitable[Result]]) -> Result:
        """Return what ``attempt`` returns, which is tried again where it raises ``StorageUnavailable``.

        It is told whether it is tried again: a commit whose answer was lost may have done then what it is to do. Once
        the time is over, what it raises is raised on; the time of a try counts, and none is broken off.
        """
        give_up_at = time.monotonic() + self.give_up_after
        again = False
        while True:
            try:
                return await attempt(again)
            except StorageUnavailable:
                if time.monotonic() >= give_up_at:
                    raise
            again = True
            await asyncio.sleep(self.pause)


PATIENT: Final = Patience()
