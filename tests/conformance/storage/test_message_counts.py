"""What a store of message counts guarantees."""

import asyncio
from datetime import date

from chatter_grpc.core.storage import Storage
from tests.support.desk import add_caller

DAY = date(2026, 11, 22)


async def test_messages_are_counted_by_account_and_day(storage: Storage) -> None:
    ada, eve = [(await add_caller(storage, name)).actor_id for name in ("ada", "eve")]
    async with storage.write() as tx:
        assert [await tx.message_counts.add(ada, DAY) for _ in range(3)] == [1, 2, 3]
        assert await tx.message_counts.add(ada, date(2026, 11, 23)) == 1
        assert await tx.message_counts.add(eve, DAY) == 1


async def test_a_month_has_the_messages_of_its_days_up_to_one(storage: Storage) -> None:
    ada = (await add_caller(storage, "ada")).actor_id
    async with storage.write() as tx:
        for day in (date(2026, 10, 31), date(2026, 11, 1), DAY, DAY, date(2026, 11, 30), date(2026, 12, 1)):
            await tx.message_counts.add(ada, day)
        assert await tx.message_counts.month(ada, DAY) == 3
        assert await tx.message_counts.month(ada, date(2026, 11, 30)) == 4
        assert await tx.message_counts.month(ada, date(2026, 9, 1)) == 0


async def test_what_is_rolled_back_is_not_counted(storage: Storage) -> None:
    ada = (await add_caller(storage, "ada")).actor_id
    try:
        async with storage.write() as tx:
            await tx.message_counts.add(ada, DAY)
            raise LookupError
    except LookupError:
        pass
    async with storage.write() as tx:
        assert await tx.message_counts.add(ada, DAY) == 1


async def test_transactions_at_once_count_one_after_the_other(storage: Storage) -> None:
    ada = (await add_caller(storage, "ada")).actor_id

    async def add() -> int:
        async with storage.write() as tx:
            return await tx.message_counts.add(ada, DAY)

    assert sorted(await asyncio.gather(*(add() for _ in range(10)))) == list(range(1, 11))
