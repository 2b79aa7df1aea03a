"""Passwords are hashed with Argon2id at the set cost, off the event loop, few at a time."""

import asyncio
import threading
import unicodedata
from collections.abc import AsyncIterator

import argon2
import pytest

from chatter_grpc.adapters.tokens.passwords import Argon2Hasher
from chatter_grpc.core.errors import RateLimited


@pytest.fixture
async def hasher() -> AsyncIterator[Argon2Hasher]:
    hasher = Argon2Hasher(concurrency=1)
    yield hasher
    await hasher.close()


async def test_a_password_fits_its_own_hash_alone(hasher: Argon2Hasher) -> None:
    made = await hasher.hash("correct horse")
    assert await hasher.verify("correct horse", made)
    assert not await hasher.verify("correct horse ", made)


async def test_equal_passwords_have_different_hashes(hasher: Argon2Hasher) -> None:
    assert await hasher.hash("correct horse") != await hasher.hash("correct horse")


async def test_the_hash_is_argon2id_with_19_mebibytes_and_two_passes(hasher: Argon2Hasher) -> None:
    assert (await hasher.hash("correct horse")).startswith("$argon2id$v=19$m=19456,t=2,p=1$")


async def test_nothing_fits_where_there_is_no_hash(hasher: Argon2Hasher) -> None:
    assert not await hasher.verify("", None)
    assert not await hasher.verify("correct horse", None)


async def test_without_a_hash_the_same_work_is_done_as_with_one(hasher: Argon2Hasher) -> None:
    real = argon2.extract_parameters(await hasher.hash("correct horse"))
    assert argon2.extract_parameters(hasher._nobodys_hash) == real


async def test_a_password_typed_with_combining_characters_fits(hasher: Argon2Hasher) -> None:
    made = await hasher.hash(unicodedata.normalize("NFC", "pässwörter"))
    assert await hasher.verify(unicodedata.normalize("NFD", "pässwörter"), made)


async def test_a_hash_with_other_parameters_wants_to_be_made_again(hasher: Argon2Hasher) -> None:
    weak = argon2.PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash("correct horse")
    assert hasher.needs_rehash(weak)
    assert await hasher.verify("correct horse", weak)
    assert not hasher.needs_rehash(await hasher.hash("correct horse"))


async def test_whoever_gets_no_turn_in_time_is_told_to_come_back() -> None:
    hasher = Argon2Hasher(concurrency=1, wait_seconds=0.01)
    hold = threading.Event()
    busy = asyncio.ensure_future(hasher._in_thread(lambda: hold.wait(10)))
    await asyncio.sleep(0)
    with pytest.raises(RateLimited) as refused:
        await hasher.hash("correct horse")
    assert refused.value.retry_after == 1.0
    hold.set()
    assert await busy
    await hasher.close()


async def test_a_caller_that_leaves_makes_no_room_before_its_work_is_done() -> None:
    hasher = Argon2Hasher(concurrency=1, wait_seconds=0.01)
    hold = threading.Event()
    leaving = asyncio.ensure_future(hasher._in_thread(lambda: hold.wait(10)))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    with pytest.raises(RateLimited):
        await hasher.hash("correct horse")
    hold.set()
    await hasher._in_thread(lambda: None)
    await hasher.close()


@pytest.mark.platform("T21")
async def test_the_event_loop_runs_on_while_a_password_is_hashed(hasher: Argon2Hasher) -> None:
    """T21: hashing happens in a thread."""
    threads: list[threading.Thread] = []
    await hasher._in_thread(lambda: threads.append(threading.current_thread()))
    assert threads[0] is not threading.current_thread()
    assert threads[0].name.startswith("password")
