"""Wake-ups within one process."""

import asyncio
from collections.abc import Callable, Collection

from chatter_grpc.core.runs.wakeups import TICK_SECONDS


class MemoryWakeUps:
    """Keeps the subscribers of each run of this process, and wakes them all every ``tick`` seconds."""

    def __init__(self, tick: float = TICK_SECONDS) -> None:
        self._tick = tick
        self._subscribers: dict[str, dict[object, Callable[[], None]]] = {}

    def notify(self, run_ids: Collection[str]) -> None:
        """Wake the subscribers of these runs in this process."""
        for run_id in run_ids:
            for wake in tuple(self._subscribers.get(run_id, {}).values()):
                wake()

    def subscribe(self, run_id: str, wake: Callable[[], None]) -> Callable[[], None]:
        """Call ``wake`` on each notification for a run and at each tick; returns what ends it."""
        token = object()
        self._subscribers.setdefault(run_id, {})[token] = wake

        def unsubscribe() -> None:
            subscribers = self._subscribers.get(run_id, {})
            subscribers.pop(token, None)
            if not subscribers:
                self._subscribers.pop(run_id, None)

        return unsubscribe

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            await asyncio.sleep(self._tick)
            self.notify(tuple(self._subscribers))
