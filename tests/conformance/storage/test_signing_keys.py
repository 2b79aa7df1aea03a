"""What a store of signing keys guarantees."""

import asyncio
from datetime import timedelta
from typing import Any

from chatter_grpc.core.signing_keys import SigningKey
from chatter_grpc.core.storage import Storage
from tests.support.records import NOW


def a_key(kid: str, **changes: Any) -> SigningKey:
    known = {"public": bytes(32), "sealed_private": bytes(range(60)), "created_at": NOW}
    return SigningKey(kid=kid, **{**known, **changes})


async def test_the_first_key_is_inserted_and_comes_back_as_it_was_stored(storage: Storage) -> None:
    async with storage.write() as tx:
        assert await tx.signing_keys.list() == ()
        assert await tx.signing_keys.add_first(a_key("k1"))
    async with storage.read() as tx:
        assert await tx.signing_keys.list() == (a_key("k1"),)


async def test_no_second_key_is_inserted_beside_one_that_signs(storage: Storage) -> None:
    async with storage.write() as tx:
        await tx.signing_keys.add_first(a_key("k1"))
        assert not await tx.signing_keys.add_first(a_key("k2"))
        assert await tx.signing_keys.list() == (a_key("k1"),)


async def test_a_retired_key_makes_room_and_the_newest_is_listed_first(storage: Storage) -> None:
    old = a_key("k1", retired_at=NOW)
    new = a_key("k2", created_at=NOW + timedelta(days=1))
    async with storage.write() as tx:
        assert await tx.signing_keys.add_first(old)
        assert await tx.signing_keys.add_first(new)
    async with storage.read() as tx:
        assert await tx.signing_keys.list() == (new, old)


async def test_of_several_transactions_at_once_exactly_one_inserts(storage: Storage) -> None:
    async def add(number: int) -> bool:
        async with storage.write() as tx:
            added = await tx.signing_keys.add_first(a_key(f"k{number}"))
            await asyncio.sleep(0.01)
            return added

    assert sorted(await asyncio.gather(*(add(number) for number in range(4)))) == [False, False, False, True]


async def test_rotating_retires_every_key_that_signs_and_no_other(storage: Storage) -> None:
    long_ago, now = NOW - timedelta(days=9), NOW + timedelta(days=1)
    first = a_key("k1", created_at=long_ago, retired_at=NOW - timedelta(days=8))
    async with storage.write() as tx:
        await tx.signing_keys.add_first(first)
        await tx.signing_keys.add_first(a_key("k2"))
        await tx.signing_keys.rotate(a_key("k3", created_at=now))
        assert await tx.signing_keys.list() == (a_key("k3", created_at=now), a_key("k2", retired_at=now), first)


async def test_of_several_that_rotate_at_once_the_last_one_signs(storage: Storage) -> None:
    async def rotate(number: int) -> None:
        async with storage.write() as tx:
            await tx.signing_keys.rotate(a_key(f"k{number}", created_at=NOW + timedelta(seconds=number)))
            await asyncio.sleep(0.01)

    await asyncio.gather(*(rotate(number) for number in range(3)))
    async with storage.read() as tx:
        assert len([key for key in await tx.signing_keys.list() if key.retired_at is None]) == 1
