"""What an audit log guarantees."""

from datetime import UTC, datetime, timedelta

import pytest

from chatter_grpc.core.audit import DONE, Action, acting, record
from chatter_grpc.core.pages import PageRequest
from chatter_grpc.core.storage import Storage

ACTION = Action(
    method="/chatter.v1.UserService/UpdateUser",
    call_id="call_1",
    address="192.0.2.7",
    actor_id="user_a",
    owner_id="subj_s",
)


async def test_what_is_recorded_comes_back_with_the_action_and_the_databases_time(storage: Storage) -> None:
    with acting(ACTION):
        async with storage.write() as tx:
            await record(tx.audit, "user", "user_b")
    async with storage.read() as tx:
        (entry,) = (await tx.audit.list("", PageRequest())).items
    assert (entry.method, entry.call_id, entry.address) == (ACTION.method, "call_1", "192.0.2.7")
    assert (entry.actor_id, entry.owner_id, entry.outcome) == ("user_a", "subj_s", DONE)
    assert (entry.resource_kind, entry.resource_id, entry.id[:6]) == ("user", "user_b", "audit_")
    assert abs(entry.at - datetime.now(UTC)) < timedelta(minutes=5)


async def test_a_method_that_finds_out_who_calls_says_so(storage: Storage) -> None:
    async with storage.write() as tx:
        with acting(Action(method="Login")):
            await record(tx.audit, "user", "user_b", actor_id="user_b", outcome="LOGIN_FAILED")
        (entry,) = (await tx.audit.list("", PageRequest())).items
    assert (entry.actor_id, entry.owner_id, entry.outcome) == ("user_b", "user_b", "LOGIN_FAILED")


async def test_nothing_is_recorded_outside_of_an_action(storage: Storage) -> None:
    with acting(ACTION):
        pass
    async with storage.write() as tx:
        await record(tx.audit, "user", "user_b")
        assert (await tx.audit.list("", PageRequest())).items == ()


async def test_what_is_rolled_back_was_not_done(storage: Storage) -> None:
    async def fail() -> None:
        async with storage.write() as tx:
            await record(tx.audit, "user", "user_b")
            raise LookupError

    with acting(ACTION), pytest.raises(LookupError):
        await fail()
    async with storage.read() as tx:
        assert (await tx.audit.list("", PageRequest())).items == ()


async def test_the_log_is_read_page_by_page_the_newest_first_of_all_or_of_one_account(storage: Storage) -> None:
    done = [("user_a", "user_b"), ("user_b", "key_1"), ("user_c", "key_2"), ("user_b", "user_b")]
    for actor_id, resource_id in done:
        async with storage.write() as tx:
            with acting(Action(method="m", actor_id=actor_id)):
                await record(tx.audit, "thing", resource_id)

    async def read(user_id: str) -> list[tuple[str, str]]:
        found = []
        page = None
        async with storage.read() as tx:
            while page is None or page.next is not None:
                page = await tx.audit.list(user_id, PageRequest(size=2, after=None if page is None else page.next))
                found += [(entry.actor_id, entry.resource_id) for entry in page.items]
        return found

    assert await read("") == done[::-1]
    assert await read("user_b") == [done[3], done[1], done[0]]
    assert await read("user_c") == [done[2]]
    assert await read("user_none") == []
