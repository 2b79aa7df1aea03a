"""What a store of request ids guarantees."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from chatter_grpc.core.requests import LIFETIME, EarlierRequest, RequestKey
from chatter_grpc.core.storage import Storage
from tests.support.records import NOW, store_user


async def a_key(storage: Storage) -> RequestKey:
    owner = await store_user(storage)
    return RequestKey(owner_id=owner.id, method="/m", request_id="r1", payload_hash=b"one")


async def test_a_fresh_key_is_recorded(storage: Storage) -> None:
    key = await a_key(storage)
    async with storage.write() as tx:
        assert await tx.requests.claim(key, "run_1", NOW) is None


@pytest.mark.parametrize("payload", [b"one", b"another"])
async def test_a_second_claim_gets_what_the_first_recorded(storage: Storage, payload: bytes) -> None:
    key = await a_key(storage)
    async with storage.write() as tx:
        await tx.requests.claim(key, "run_1", NOW)
    async with storage.write() as tx:
        again = await tx.requests.claim(replace(key, payload_hash=payload), "run_2", NOW + timedelta(hours=1))
    assert again == EarlierRequest(resource_id="run_1", payload_hash=b"one")


async def test_keys_differ_by_owner_method_and_request_id(storage: Storage) -> None:
    key, other = await a_key(storage), await a_key(storage)
    async with storage.write() as tx:
        await tx.requests.claim(key, "run_1", NOW)
        for another in (other, replace(key, method="/n"), replace(key, request_id="R1")):
            assert await tx.requests.claim(another, "run_2", NOW) is None


async def test_an_expired_key_counts_as_absent_and_is_recorded_anew(storage: Storage) -> None:
    key = await a_key(storage)
    later = NOW + LIFETIME
    async with storage.write() as tx:
        await tx.requests.claim(key, "run_1", NOW)
        before = await tx.requests.claim(key, "run_2", later - timedelta(microseconds=1))
        assert before == EarlierRequest(resource_id="run_1", payload_hash=b"one")
        assert await tx.requests.claim(replace(key, payload_hash=b"two"), "run_2", later) is None
        again = await tx.requests.claim(key, "run_3", later)
    assert again == EarlierRequest(resource_id="run_2", payload_hash=b"two")


async def test_a_claim_that_is_rolled_back_frees_the_key(storage: Storage) -> None:
    key = await a_key(storage)
    with suppress(LookupError):
        async with storage.write() as tx:
            await tx.requests.claim(key, "run_1", NOW)
            raise LookupError
    async with storage.write() as tx:
        assert await tx.requests.claim(key, "run_2", NOW) is None


async def claim(storage: Storage, key: RequestKey, resource_id: str) -> EarlierRequest | None:
    async with storage.write() as tx:
        return await tx.requests.claim(key, resource_id, NOW)


async def test_the_second_of_two_claims_waits_for_the_first_and_sees_it(storage: Storage) -> None:
    key = await a_key(storage)
    async with storage.write() as tx:
        await tx.requests.claim(key, "run_1", NOW)
        second = asyncio.create_task(claim(storage, key, "run_2"))
        await asyncio.sleep(0.05)
        assert not second.done()
    assert await second == EarlierRequest(resource_id="run_1", payload_hash=b"one")


async def test_the_second_of_two_claims_gets_the_key_where_the_first_is_rolled_back(storage: Storage) -> None:
    key = await a_key(storage)
    second = None
    with suppress(LookupError):
        async with storage.write() as tx:
            await tx.requests.claim(key, "run_1", NOW)
            second = asyncio.create_task(claim(storage, key, "run_2"))
            await asyncio.sleep(0.05)
            raise LookupError
    assert second is not None
    assert await second is None


async def test_of_many_claims_at_once_one_is_the_first(storage: Storage) -> None:
    key = await a_key(storage)
    results = await asyncio.gather(*(claim(storage, key, f"run_{number}") for number in range(5)))
    earlier = [result for result in results if result is not None]
    assert len(earlier) == 4
    assert len(set(earlier)) == 1
