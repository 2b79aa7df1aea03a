"""Takes lost runs until they are taken: one whose row another transaction holds at the moment is passed over."""

from chatter_grpc.core.runs.run import Taken
from chatter_grpc.core.storage import Storage
from tests.support.waiting import eventually


async def take_lost(
    storage: Storage, count: int, *, process_id: str = "process_2", lease: float = 600.0, limit: int = 100
) -> tuple[Taken, ...]:
    """Take over so many lost runs, no more and no fewer, at most ``limit`` at a time."""
    taken: list[Taken] = []

    async def enough() -> bool:
        async with storage.write() as tx:
            taken.extend(await tx.runs.take_lost(process_id, lease, limit))
        return len(taken) >= count

    await eventually(enough)
    assert len(taken) == count
    return tuple(taken)
