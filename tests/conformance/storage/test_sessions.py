"""What a store of sessions guarantees."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from chatter_grpc.core.ids import REFRESH_TOKEN, SESSION, new_id
from chatter_grpc.core.sessions import RefreshToken, Session
from chatter_grpc.core.storage import Storage
from tests.support.records import NOW, store_user

WEEK = timedelta(days=7)
LATER = NOW + timedelta(hours=1)


def a_token(session_id: str) -> RefreshToken:
    return RefreshToken(id=new_id(REFRESH_TOKEN), session_id=session_id, kid="k1", issued_at=NOW, expires_at=NOW + WEEK)


async def open_session(storage: Storage, user_id: str = "") -> tuple[Session, RefreshToken]:
    user_id = user_id or (await store_user(storage)).id
    session = Session(id=new_id(SESSION), user_id=user_id, created_at=NOW, expires_at=NOW + WEEK)
    token = a_token(session.id)
    async with storage.write() as tx:
        await tx.sessions.add(session, token)
    return session, token


async def test_a_session_and_its_first_token_come_back_as_they_were_stored(storage: Storage) -> None:
    session, token = await open_session(storage)
    async with storage.read() as tx:
        assert await tx.sessions.get(session.id) == session
        assert await tx.sessions.get_token(token.id) == token
    async with storage.write() as tx:
        assert await tx.sessions.lock_token(token.id) == token


async def test_there_is_no_session_where_there_is_none(storage: Storage) -> None:
    async with storage.write() as tx:
        assert await tx.sessions.get("sess_none") is None
        assert await tx.sessions.get_token("rt_none") is None
        assert await tx.sessions.lock_token("rt_none") is None
        assert not await tx.sessions.revoke("sess_none", NOW)


async def test_rotation_marks_the_token_adds_its_successor_and_extends_the_session(storage: Storage) -> None:
    session, token = await open_session(storage)
    successor = replace(a_token(session.id), issued_at=LATER, expires_at=LATER + WEEK)
    async with storage.write() as tx:
        await tx.sessions.lock_token(token.id)
        await tx.sessions.rotate(token.id, successor, LATER)
    async with storage.read() as tx:
        assert await tx.sessions.get_token(token.id) == replace(token, rotated_at=LATER, successor_id=successor.id)
        assert await tx.sessions.get_token(successor.id) == successor
        assert await tx.sessions.get(session.id) == replace(session, expires_at=LATER + WEEK)


async def test_uses_of_one_token_are_ordered_so_that_one_rotates_it(storage: Storage) -> None:
    session, token = await open_session(storage)

    async def use() -> bool:
        async with storage.write() as tx:
            held = await tx.sessions.lock_token(token.id)
            assert held is not None
            if held.rotated_at is not None:
                return False
            await asyncio.sleep(0.01)
            await tx.sessions.rotate(token.id, a_token(session.id), LATER)
            return True

    assert sorted(await asyncio.gather(*(use() for _ in range(4)))) == [False, False, False, True]


async def test_whoever_waits_for_a_token_sees_what_the_one_before_did_to_it(storage: Storage) -> None:
    session, token = await open_session(storage)

    async def look() -> RefreshToken | None:
        async with storage.write() as tx:
            return await tx.sessions.lock_token(token.id)

    async with storage.write() as tx:
        await tx.sessions.lock_token(token.id)
        looking = asyncio.create_task(look())
        await asyncio.sleep(0.05)
        assert not looking.done()
        await tx.sessions.rotate(token.id, a_token(session.id), LATER)
    seen = await looking
    assert seen is not None
    assert seen.rotated_at == LATER


async def test_ending_a_session_tells_whether_it_was_open(storage: Storage) -> None:
    session, _ = await open_session(storage)
    async with storage.write() as tx:
        assert await tx.sessions.revoke(session.id, LATER)
        assert not await tx.sessions.revoke(session.id, LATER + WEEK)
        assert await tx.sessions.get(session.id) == replace(session, revoked_at=LATER)


async def test_all_open_sessions_of_one_account_end_at_once(storage: Storage) -> None:
    first, _ = await open_session(storage)
    second, _ = await open_session(storage, first.user_id)
    ended, _ = await open_session(storage, first.user_id)
    others, _ = await open_session(storage)
    async with storage.write() as tx:
        await tx.sessions.revoke(ended.id, NOW)
        assert set(await tx.sessions.revoke_all(first.user_id, LATER)) == {first.id, second.id}
        assert await tx.sessions.revoke_all(first.user_id, LATER) == ()
        assert await tx.sessions.get(ended.id) == replace(ended, revoked_at=NOW)
        assert await tx.sessions.get(others.id) == others


async def test_a_session_that_has_expired_is_not_open_any_more(storage: Storage) -> None:
    session, _ = await open_session(storage)
    async with storage.write() as tx:
        assert not await tx.sessions.revoke(session.id, session.expires_at)
        assert await tx.sessions.revoke_all(session.user_id, session.expires_at) == ()


async def test_ending_all_sessions_may_leave_one_open(storage: Storage) -> None:
    kept, _ = await open_session(storage)
    other, _ = await open_session(storage, kept.user_id)
    async with storage.write() as tx:
        assert await tx.sessions.revoke_all(kept.user_id, LATER, but=kept.id) == (other.id,)
        assert await tx.sessions.get(kept.id) == kept


async def test_holding_a_session_tells_whether_it_is_open(storage: Storage) -> None:
    session, _ = await open_session(storage)
    async with storage.write() as tx:
        assert await tx.sessions.hold_open(session.id, LATER)
        assert not await tx.sessions.hold_open(session.id, session.expires_at)
        assert not await tx.sessions.hold_open("sess_none", LATER)
        await tx.sessions.revoke(session.id, LATER)
        assert not await tx.sessions.hold_open(session.id, LATER)


async def test_who_ends_a_session_waits_for_what_holds_it_open(storage: Storage) -> None:
    session, _ = await open_session(storage)
    held, order = asyncio.Event(), list[str]()

    async def use() -> None:
        async with storage.write() as tx:
            assert await tx.sessions.hold_open(session.id, LATER)
            held.set()
            await asyncio.sleep(0.05)
            order.append("used")

    async def end() -> None:
        await held.wait()
        async with storage.write() as tx:
            assert await tx.sessions.revoke(session.id, LATER)
            order.append("ended")

    await asyncio.gather(use(), end())
    assert order == ["used", "ended"]
