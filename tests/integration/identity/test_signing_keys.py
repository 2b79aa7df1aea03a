"""Signing keys are made once for all replicas, found when they are new, and useless without the secret."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chatter_grpc.adapters.tokens.jwt import JwtSigner
from chatter_grpc.adapters.tokens.sealing import Sealer
from chatter_grpc.adapters.tokens.secret import SecretRefused
from chatter_grpc.adapters.tokens.signing_keys import MARGIN, KeyRing
from chatter_grpc.core.audit import Action, acting
from chatter_grpc.core.errors import StorageUnavailable, TokenInvalid
from chatter_grpc.core.pages import PageRequest
from chatter_grpc.core.signing_keys import SigningKey
from chatter_grpc.core.storage import Storage
from chatter_grpc.core.tokens import Claims, TokenKind
from tests.support.identity import AUDIENCE, ISSUER, BreakableStorage, HandClock

SEALER = Sealer(bytes(range(32)))


WEEK = timedelta(days=7)


def ring(storage: Storage, clock: HandClock, sealer: Sealer = SEALER, **given: Any) -> KeyRing:
    return KeyRing(storage, sealer, token_lifetime=WEEK, clock=clock, monotonic=clock.monotonic, **given)


def claims(clock: HandClock) -> Claims:
    return Claims(
        kind=TokenKind.ACCESS,
        token_id="at_1",
        session_id="sess_1",
        user_id="user_1",
        issued_at=clock.now.replace(microsecond=0),
        expires_at=clock.now.replace(microsecond=0, year=2030),
    )


def signer(keys: KeyRing, clock: HandClock) -> JwtSigner:
    return JwtSigner(keys, issuer=ISSUER, audience=AUDIENCE, clock=clock)


async def stored(storage: Storage) -> tuple[SigningKey, ...]:
    async with storage.read() as tx:
        return await tx.signing_keys.list()


async def test_replicas_that_start_at_once_share_one_key(storage: Storage, clock: HandClock) -> None:
    rings = [ring(storage, clock) for _ in range(5)]
    await asyncio.gather(*(each.open() for each in rings))
    assert {each.kid for each in rings} == {key.kid for key in await stored(storage)}
    assert len(await stored(storage)) == 1
    token = await signer(rings[0], clock).sign(claims(clock), rings[0].kid)
    assert await signer(rings[4], clock).verify(token, TokenKind.ACCESS) == claims(clock)


async def test_a_restart_finds_the_key_again(storage: Storage, clock: HandClock) -> None:
    before = ring(storage, clock)
    await before.open()
    after = ring(storage, clock)
    await after.open()
    assert after.kid == before.kid


async def test_signing_the_same_claims_gives_the_same_bytes(storage: Storage, clock: HandClock) -> None:
    first, second = ring(storage, clock), ring(storage, clock)
    await first.open()
    await second.open()
    assert await signer(first, clock).sign(claims(clock), first.kid) == await signer(second, clock).sign(
        claims(clock), first.kid
    )


async def test_the_private_half_is_not_in_the_database(storage: Storage, clock: HandClock) -> None:
    keys = ring(storage, clock)
    await keys.open()
    private = await keys.private(keys.kid)
    assert private is not None
    (row,) = await stored(storage)
    assert private.private_bytes_raw() not in row.sealed_private
    assert row.public == private.public_key().public_bytes_raw()


@pytest.mark.platform("T5")
async def test_a_server_with_another_secret_does_not_start(storage: Storage, clock: HandClock) -> None:
    """T5: a secret that was exchanged is noticed at start, not at the first login."""
    await ring(storage, clock).open()
    with pytest.raises(SecretRefused, match="another secret"):
        await ring(storage, clock, Sealer(bytes(32))).open()
    assert len(await stored(storage)) == 1


async def test_after_a_rotation_old_tokens_hold_and_running_replicas_find_the_new_key(
    storage: Storage, clock: HandClock
) -> None:
    said = claims(clock)
    running = ring(storage, clock)
    await running.open()
    old_token = await signer(running, clock).sign(said, running.kid)
    clock.advance(1)
    started = ring(storage, clock)
    await started.open()
    assert await started.rotate() == started.kid != running.kid
    assert await signer(started, clock).verify(old_token, TokenKind.ACCESS) == said
    assert await signer(started, clock).sign(said, running.kid) == await signer(running, clock).sign(said, running.kid)
    new_token = await signer(started, clock).sign(said, started.kid)
    assert await signer(running, clock).verify(new_token, TokenKind.ACCESS) == said


async def test_a_running_replica_signs_with_a_new_key_once_every_other_would_find_it(
    storage: Storage, clock: HandClock
) -> None:
    """Another one that has just looked for keys does not look again for a second, and would refuse the token."""
    running, other = ring(storage, clock, refresh_after=0.001), ring(storage, clock)
    await running.open()
    first = running.kid
    operator = ring(storage, clock)
    await operator.open()
    clock.advance(2)
    await other.open()
    kid = await operator.rotate()
    at_work = asyncio.create_task(running.run())
    assert await running.private(kid) is not None
    assert running.kid == first
    token = await signer(running, clock).sign(claims(clock), running.kid)
    assert await signer(other, clock).verify(token, TokenKind.ACCESS) == claims(clock)
    clock.advance(5)
    async with asyncio.timeout(10):
        while running.kid != kid:  # noqa: ASYNC110 - a task is waited for that tells nobody
            await asyncio.sleep(0.001)
    at_work.cancel()
    token = await signer(running, clock).sign(claims(clock), running.kid)
    assert await signer(other, clock).verify(token, TokenKind.ACCESS) == claims(clock)


async def test_a_running_replica_takes_up_a_new_key_by_itself(storage: Storage, clock: HandClock) -> None:
    running = ring(storage, clock, refresh_after=0.001)
    await running.open()
    at_work = asyncio.create_task(running.run())
    other = ring(storage, clock)
    await other.open()
    clock.advance(1)
    kid = await other.rotate()
    clock.advance(5)
    async with asyncio.timeout(10):
        while running.kid != kid:  # noqa: ASYNC110 - a task is waited for that tells nobody
            await asyncio.sleep(0.001)
    assert await running.private(kid) is not None
    at_work.cancel()


async def test_looking_for_new_keys_goes_on_after_an_outage(
    storage: Storage, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    breakable = BreakableStorage(storage)
    running = ring(breakable, clock, refresh_after=0.001)
    await running.open()
    breakable.broken = True
    at_work = asyncio.create_task(running.run())
    async with asyncio.timeout(10):
        while not caplog.records:  # noqa: ASYNC110 - a task is waited for that tells nobody
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        breakable.broken = False
        while len(caplog.records) < 2:  # noqa: ASYNC110 - a task is waited for that tells nobody
            await asyncio.sleep(0.001)
    at_work.cancel()
    assert [record.getMessage() for record in caplog.records] == [
        "signing keys cannot be read: StorageUnavailable",
        "signing keys are read again",
    ]


async def test_a_retired_key_is_refused_when_no_token_of_it_can_be_left(storage: Storage, clock: HandClock) -> None:
    keys = ring(storage, clock)
    await keys.open()
    old = keys.kid
    forged = replace(claims(clock), expires_at=clock.now.replace(microsecond=0, year=2099))
    token = await signer(keys, clock).sign(forged, old)
    await keys.rotate()
    clock.advance(WEEK.total_seconds())
    assert await signer(keys, clock).verify(token, TokenKind.ACCESS) == forged
    clock.advance(MARGIN.total_seconds())
    started = ring(storage, clock)
    await started.open()
    for each in (keys, started):
        with pytest.raises(TokenInvalid):
            await signer(each, clock).verify(token, TokenKind.ACCESS)


async def test_a_rotation_is_recorded(storage: Storage, clock: HandClock) -> None:
    keys = ring(storage, clock)
    await keys.open()
    with acting(Action(method="rotate")):
        kid = await keys.rotate()
    async with storage.read() as tx:
        (entry,) = (await tx.audit.list("", PageRequest())).items
    assert (entry.method, entry.resource_kind, entry.resource_id) == ("rotate", "signing_key", kid)


async def test_unknown_ids_do_not_flood_the_database(storage: Storage, clock: HandClock) -> None:
    counted = BreakableStorage(storage)
    keys = ring(counted, clock)
    await keys.open()
    clock.advance(1)
    before = counted.reads
    found = await asyncio.gather(*(keys.public(f"{number:032}") for number in range(100)))
    assert set(found) == {None}
    assert counted.reads == before + 1
    clock.advance(1)
    assert await keys.public("f" * 32) is None
    assert counted.reads == before + 2


async def test_without_the_database_an_unknown_id_is_not_called_invalid(storage: Storage, clock: HandClock) -> None:
    breakable = BreakableStorage(storage)
    keys = ring(breakable, clock)
    await keys.open()
    clock.advance(1)
    breakable.broken = True
    with pytest.raises(StorageUnavailable):
        await keys.public("f" * 32)
    assert await keys.public(keys.kid) is not None


async def test_nothing_is_signed_with_a_key_that_is_not_there(storage: Storage, clock: HandClock) -> None:
    keys = ring(storage, clock)
    await keys.open()
    with pytest.raises(TokenInvalid):
        await signer(keys, clock).sign(claims(clock), "f" * 32)
