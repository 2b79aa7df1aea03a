"""Who writes to SQLite when several want to."""

import asyncio
from pathlib import Path

from chatter_grpc.adapters.sql.database import Database

WAITING = 20


async def test_an_urgent_writer_goes_before_those_that_queue_and_all_others_keep_their_order(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'turns.db'}")
    order: list[str] = []

    async def write(name: str, *, urgent: bool = False) -> None:
        async with database.writing_turn(urgent=urgent):
            order.append(name)

    async with asyncio.TaskGroup() as group, database.writing_turn():
        for number in range(WAITING):
            group.create_task(write(str(number)))
        await asyncio.sleep(0)
        group.create_task(write("urgent", urgent=True))
        await asyncio.sleep(0)
    # The first of those that queue had the next turn already.
    assert order == ["0", "urgent", *map(str, range(1, WAITING))]
    await database.close()


async def test_a_writer_that_gives_up_while_it_queues_keeps_no_other_from_its_turn(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'turns.db'}")

    async def write() -> None:
        async with database.writing_turn():
            pass

    async with database.writing_turn():
        waiting = [asyncio.create_task(write()) for _ in range(3)]
        await asyncio.sleep(0)
        for task in waiting[:2]:
            task.cancel()
        await asyncio.wait(waiting[:2])
    async with asyncio.timeout(10):
        await waiting[2]
        await write()
    assert [task.cancelled() for task in waiting] == [True, True, False]
    await database.close()
