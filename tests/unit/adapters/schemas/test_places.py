"""Owners take turns, and no place is lost or lent twice."""

import asyncio

import pytest

from chatter_grpc.adapters.schemas.places import Places


class Visits:
    """Visitors of places, each of whom stays until told to leave; ``inside`` are those who have a place."""

    def __init__(self, count: int) -> None:
        self.places = Places(count)
        self.inside: dict[str, asyncio.Event] = {}
        self.seen: list[str] = []

    def come(self, name: str) -> "asyncio.Task[None]":
        """Have someone come, whose owner is the first letter of the name."""
        return asyncio.create_task(self._visit(name))

    async def leave(self, *names: str) -> None:
        """Have these leave, one after the other."""
        for name in names:
            self.inside.pop(name).set()
            await settle()

    async def _visit(self, name: str) -> None:
        async with self.places.place(name[0]):
            self.inside[name] = asyncio.Event()
            self.seen.append(name)
            await self.inside[name].wait()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_comes_later_does_not_wait_for_all_that_another_owner_has_asked_for() -> None:
    visits = Visits(2)
    tasks = [visits.come(name) for name in ("a1", "a2", "a3", "a4", "a5", "b1", "c1", "b2")]
    await settle()
    assert visits.seen == ["a1", "a2"]
    await visits.leave("a1", "a2", "a3", "b1", "c1", "a4", "b2", "a5")
    assert visits.seen == ["a1", "a2", "a3", "b1", "c1", "a4", "b2", "a5"]
    await asyncio.gather(*tasks)


@pytest.mark.parametrize("moment", ["while it waits", "as it gets its place"])
async def test_who_goes_away_leaves_the_place_to_the_next(moment: str) -> None:
    visits = Visits(1)
    first, second, third = (visits.come(name) for name in ("a1", "a2", "a3"))
    await settle()
    if moment == "while it waits":
        second.cancel()
        await settle()
        visits.inside.pop("a1").set()
    else:
        visits.inside.pop("a1").set()
        # The first leaves in the next round of the loop; the second would go on in the one after that.
        await asyncio.sleep(0)
        second.cancel()
    await settle()
    assert visits.seen == ["a1", "a3"]
    await visits.leave("a3")
    await asyncio.gather(first, third)
    assert second.cancelled()
    last = visits.come("b1")
    await settle()
    assert visits.seen[-1] == "b1", "the place is free again"
    await visits.leave("b1")
    await last
