"""What a store of API keys guarantees."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

from chatter_grpc.core.api_keys import ApiKey
from chatter_grpc.core.pages import Page, PageRequest
from chatter_grpc.core.storage import Storage
from tests.support.records import NOW, an_api_key, store_user

LATER = NOW + timedelta(hours=1)


async def store_key(storage: Storage, user_id: str, **changes: Any) -> ApiKey:
    key = an_api_key(user_id, **changes)
    async with storage.write() as tx:
        await tx.api_keys.add(key)
    return key


async def test_a_key_is_found_by_its_prefix_as_it_was_stored(storage: Storage) -> None:
    user = await store_user(storage)
    key = await store_key(storage, user.id)
    expiring = await store_key(storage, user.id, expires_at=LATER, scopes=frozenset())
    async with storage.read() as tx:
        assert await tx.api_keys.find(key.prefix) == key
        assert await tx.api_keys.find(expiring.prefix) == expiring
        assert await tx.api_keys.find("none") is None


async def test_a_revoked_key_is_still_found_and_says_so(storage: Storage) -> None:
    key = await store_key(storage, (await store_user(storage)).id)
    async with storage.write() as tx:
        assert await tx.api_keys.revoke(key.id, LATER)
    async with storage.read() as tx:
        assert await tx.api_keys.find(key.prefix) == replace(key, revoked_at=LATER)


async def test_revoking_tells_whether_the_key_was_valid(storage: Storage) -> None:
    user = await store_user(storage)
    key = await store_key(storage, user.id)
    expired = await store_key(storage, user.id, expires_at=NOW)
    async with storage.write() as tx:
        assert await tx.api_keys.revoke(key.id, LATER)
        assert not await tx.api_keys.revoke(key.id, LATER)
        assert not await tx.api_keys.revoke(expired.id, LATER)
        assert not await tx.api_keys.revoke("key_none", LATER)


async def test_keys_of_an_account_are_listed_in_order_of_creation(storage: Storage) -> None:
    user, other = await store_user(storage), await store_user(storage)
    late = await store_key(storage, user.id, created_at=LATER)
    early = await store_key(storage, user.id)
    await store_key(storage, other.id)
    async with storage.read() as tx:
        assert await tx.api_keys.list(user.id, PageRequest()) == Page(items=(early, late))
        first = await tx.api_keys.list(user.id, PageRequest(size=1))
        assert first.items == (early,)
        assert await tx.api_keys.list(user.id, PageRequest(size=1, after=first.next)) == Page(items=(late,))
        assert await tx.api_keys.list("user_none", PageRequest()) == Page(items=())


async def test_a_key_is_read_by_its_account_alone(storage: Storage) -> None:
    user, other = await store_user(storage), await store_user(storage)
    key = await store_key(storage, user.id, revoked_at=NOW)
    async with storage.read() as tx:
        assert await tx.api_keys.get(user.id, key.id) == key
        assert await tx.api_keys.get(other.id, key.id) is None
        assert await tx.api_keys.get(user.id, "key_none") is None


async def test_keys_are_valid_that_are_neither_revoked_nor_expired(storage: Storage) -> None:
    user, other = await store_user(storage), await store_user(storage)
    valid = [await store_key(storage, user.id), await store_key(storage, user.id, expires_at=LATER)]
    invalid = [await store_key(storage, user.id, expires_at=NOW), await store_key(storage, user.id, revoked_at=NOW)]
    await store_key(storage, other.id)
    async with storage.write() as tx:
        assert await tx.api_keys.count_valid(user.id, NOW) == 2
        assert [await tx.api_keys.hold_valid(key.id, NOW) for key in valid] == valid
        assert [await tx.api_keys.hold_valid(key.id, NOW) for key in invalid] == [None, None]
        assert await tx.api_keys.hold_valid("key_none", NOW) is None


async def test_who_revokes_a_key_waits_for_what_holds_it(storage: Storage) -> None:
    key = await store_key(storage, (await store_user(storage)).id)
    held, order = asyncio.Event(), list[str]()

    async def use() -> None:
        async with storage.write() as tx:
            assert await tx.api_keys.hold_valid(key.id, NOW) == key
            held.set()
            await asyncio.sleep(0.05)
            order.append("used")

    async def revoke() -> None:
        await held.wait()
        async with storage.write() as tx:
            assert await tx.api_keys.revoke(key.id, NOW)
            order.append("revoked")

    await asyncio.gather(use(), revoke())
    assert order == ["used", "revoked"]
