"""Carries wake-ups between processes: what is notified here reaches the subscribers elsewhere, where there is a way."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Final, Protocol

from chatter_grpc.core.runs.wakeups import WakeUps

# More than a process notifies between two trips, unless no way is open: then readers look by themselves.
MAX_WAITING: Final = 10_000

Receive = Callable[[Collection[str]], None]


class CarrierAway(Exception):
    """The way between the processes is not open at the moment."""


class Carrier(Protocol):
    """One way between the processes that share a database."""

    async def send(self, run_ids: Sequence[str]) -> None:
        """Carry ids to all other processes, within a deadline; raises ``CarrierAway``."""
        ...

    async def run(self, receive: Receive) -> None:
        """Call ``receive`` with the ids that others send, until cancelled; opens the way again whenever it closes."""
        ...


class RelayedWakeUps:
    """``WakeUps`` that are heard in every process.

    Ids go out by the first of the ``carriers`` that is open, and come in by any of them. What no carrier takes is
    dropped: ``local`` ticks.
    """

    def __init__(self, local: WakeUps, carriers: Sequence[Carrier]) -> None:
        self._local = local
        self._carriers = carriers
        # In order, each once.
        self._waiting: dict[str, None] = {}
        self._news = asyncio.Event()

    def notify(self, run_ids: Collection[str]) -> None:
        """Wake the subscribers in this process at once, and have the others woken."""
        self._local.notify(run_ids)
        self._waiting.update(dict.fromkeys(run_ids))
        while len(self._waiting) > MAX_WAITING:
            del self._waiting[next(iter(self._waiting))]
        self._news.set()

    def subscribe(self, run_id: str, wake: Callable[[], None]) -> Callable[[], None]:
        """Call ``wake`` on each notification for a run, from wherever, and at each tick; returns what ends it."""
        return self._local.subscribe(run_id, wake)

    async def run(self) -> None:
        """Carry and tick until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._local.run())
            group.create_task(self._send())
            for carrier in self._carriers:
                group.create_task(carrier.run(self._local.notify))

    async def _send(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            run_ids, self._waiting = tuple(self._waiting), {}
            await self._carry(run_ids)

    async def _carry(self, run_ids: Sequence[str]) -> None:
        for carrier in self._carriers:
            try:
                await carrier.send(run_ids)
            except CarrierAway:
                continue
            return
