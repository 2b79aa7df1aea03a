"""Wake-ups of several processes, and how to know that they hear each other."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from chatter_grpc.adapters.memory.wakeups import MemoryWakeUps
from chatter_grpc.core.ids import new_id
from chatter_grpc.core.runs.relay import Carrier, RelayedWakeUps
from chatter_grpc.core.runs.wakeups import WakeUps
from tests.support.waiting import eventually

# No test may be helped by it.
NO_TICK = 3600.0


@dataclass(frozen=True, slots=True)
class Processes:
    """The wake-ups of two processes; of one and the same where an adapter declares that it knows but one."""

    one: WakeUps
    two: WakeUps

    @property
    def shared(self) -> bool:
        """What an adapter declares: whether it carries between processes."""
        return self.one is not self.two


@asynccontextmanager
async def carrying(wakeups: WakeUps) -> AsyncIterator[None]:
    """Have wake-ups carried while the block lasts."""
    task = asyncio.create_task(wakeups.run())
    try:
        yield
    finally:
        # A fault says more than what waits in vain for wake-ups.
        if task.done():
            await task
        assert not task.done()
        task.cancel()
        await asyncio.wait((task,))


async def hear_each_other(one: WakeUps, two: WakeUps) -> None:
    """Return once each hears the other: it takes a moment until all listen."""
    for here, there in ((one, two), (two, one)):
        heard = asyncio.Event()
        probe = new_id("probe")
        leave = there.subscribe(probe, heard.set)

        async def arrived(here: WakeUps = here, probe: str = probe, heard: asyncio.Event = heard) -> bool:
            here.notify((probe,))
            return heard.is_set()

        await eventually(arrived)
        leave()


@asynccontextmanager
async def relayed(one_by: Sequence[Carrier], two_by: Sequence[Carrier]) -> AsyncIterator[Processes]:
    """Two processes with the carriers of each."""
    one, two = (RelayedWakeUps(MemoryWakeUps(NO_TICK), carriers) for carriers in (one_by, two_by))
    async with carrying(one), carrying(two):
        await hear_each_other(one, two)
        yield Processes(one, two)
