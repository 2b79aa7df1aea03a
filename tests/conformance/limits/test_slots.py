"""What every ``Slots`` does, in the process and on Redis."""

import asyncio

from chatter_grpc.core.limits import Slots
from tests.support.waiting import soon


async def test_as_many_slots_are_given_as_there_are(slots: Slots) -> None:
    taken = [await slots.take("a", 2) for _ in range(3)]
    assert taken[2] is None
    assert None not in taken[:2]
    assert len(set(taken)) == 3


async def test_a_slot_that_is_freed_can_be_taken_again(slots: Slots) -> None:
    first, second = await slots.take("a", 2), await slots.take("a", 2)
    assert first is not None
    assert second is not None
    await slots.free("a", first)
    await slots.free("a", first)
    assert await slots.take("a", 2) is not None
    assert await slots.take("a", 2) is None


async def test_freeing_what_was_never_taken_does_no_harm(slots: Slots) -> None:
    await slots.free("a", "slot_unknown")
    assert await slots.take("a", 1) is not None
    assert await slots.take("a", 1) is None


async def test_keys_do_not_share(slots: Slots) -> None:
    assert await slots.take("a", 1) is not None
    assert await slots.take("b", 1) is not None


async def test_none_of_nothing_is_given(slots: Slots) -> None:
    assert await slots.take("a", 0) is None


async def test_a_smaller_amount_counts_what_is_held_already(slots: Slots) -> None:
    for _ in range(3):
        await slots.take("a", 3)
    assert await slots.take("a", 2) is None


async def test_parallel_takers_get_no_more_than_there_are(slots: Slots) -> None:
    taken = await asyncio.gather(*(slots.take("a", 5) for _ in range(50)))
    assert sum(slot is not None for slot in taken) == 5


async def test_keeping_has_no_end_of_its_own(slots: Slots) -> None:
    keeping = asyncio.create_task(slots.run())
    assert await soon(slots.take("a", 1)) is not None
    assert not keeping.done()
    keeping.cancel()
    await asyncio.wait((keeping,))
    assert keeping.cancelled()
