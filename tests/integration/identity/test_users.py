"""Accounts are changed by their owners and by administrators, and what may no longer be open is ended at once."""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import pytest

from chatter_grpc.core.callers import ADMIN_SCOPES, SESSION_SCOPES, Caller, Scope
from chatter_grpc.core.errors import (
    AccountDisabled,
    ChatterError,
    EmailTaken,
    EtagMismatch,
    FieldInvalid,
    LastAdministrator,
    RequestIdReused,
    ScopeMissing,
    SessionRevoked,
    SubjectUnexpected,
    UserNotFound,
)
from chatter_grpc.core.requests import RequestKey
from chatter_grpc.core.user_service import UserUpdate, UserValues
from chatter_grpc.core.users import User, UserLimits, UserRole, UserState
from tests.integration.identity.test_accounts import start_run
from tests.support.identity import PASSWORD, Replica, Site

LIMITED = UserLimits(messages_per_day=3, messages_per_month=5)


async def sign_in(replica: Replica, name: str) -> Caller:
    return await replica.authenticator.authenticate((await replica.log_in(name)).access_token)


@pytest.fixture
async def ada(replica: Replica) -> Caller:
    await replica.sign_up()
    return await sign_in(replica, "ada")


@pytest.fixture
async def root(replica: Replica) -> Caller:
    await replica.accounts.create_admin(username="root", email="r@r", password=PASSWORD)
    return await sign_in(replica, "root")


async def change_me(
    replica: Replica,
    caller: Caller,
    *paths: str,
    key: RequestKey | None = None,
    etag: str = "",
    user_id: str = "",
    **values: Any,
) -> User:
    update = UserUpdate(user_id=user_id, values=UserValues(**values), paths=paths, etag=etag)
    return await replica.users.update_me(caller, update, key)


async def change(
    replica: Replica,
    caller: Caller,
    user_id: str,
    paths: Collection[str],
    *,
    etag: str = "",
    key: RequestKey | None = None,
    **values: Any,
) -> User:
    update = UserUpdate(user_id=user_id, values=UserValues(**values), paths=paths, etag=etag)
    return await replica.users.update(caller, update, key)


async def demote(replica: Replica, caller: Caller, user_id: str) -> User:
    return await change(replica, caller, user_id, ["role"], role=UserRole.MEMBER)


async def disable(replica: Replica, caller: Caller, user_id: str) -> User:
    return await change(replica, caller, user_id, ["state"], state=UserState.DISABLED)


async def is_refused(replica: Replica, caller: Caller) -> bool:
    try:
        replica.authenticator.check(caller)
    except (SessionRevoked, AccountDisabled):
        return True
    return False


async def test_a_caller_changes_what_its_account_shows(replica: Replica, ada: Caller) -> None:
    before = await replica.users.me(ada)
    after = await change_me(replica, ada, "display_name", "email", display_name="Ada L.", email="new@example.org")
    assert (after.display_name, after.email, after.version) == ("Ada L.", "new@example.org", before.version + 1)
    assert await replica.users.me(ada) == after
    await replica.log_in("NEW@example.org")
    assert (await change_me(replica, ada, "display_name", email="ignored@example.org")).display_name == ""
    assert (await replica.users.me(ada)).email == "new@example.org"


async def test_what_changes_nothing_is_no_new_version(replica: Replica, ada: Caller) -> None:
    before = await replica.users.me(ada)
    assert await change_me(replica, ada, "display_name", display_name=before.display_name) == before


@pytest.mark.parametrize(
    ("paths", "values", "field"),
    [
        ((), {}, "update_mask"),
        (("role",), {"role": UserRole.ADMIN}, "update_mask.paths[0]"),
        (("display_name", "state"), {}, "update_mask.paths[1]"),
        (("limits.messages_per_day",), {}, "update_mask.paths[0]"),
        (("password_hash",), {}, "update_mask.paths[0]"),
        (("email",), {}, "user.email"),
        (("email",), {"email": "no address"}, "email"),
        (("display_name",), {"display_name": "x" * 101}, "display_name"),
    ],
)
async def test_a_caller_does_not_set_what_is_not_its_own_to_set(
    replica: Replica, ada: Caller, paths: tuple[str, ...], values: dict[str, Any], field: str
) -> None:
    before = await replica.users.me(ada)
    with pytest.raises(FieldInvalid) as refused:
        await change_me(replica, ada, *paths, **values)
    assert [violation.field for violation in refused.value.violations] == [field]
    assert await replica.users.me(ada) == before


async def test_an_address_that_another_has_is_taken(replica: Replica, ada: Caller) -> None:
    eve = await replica.sign_up("eve")
    with pytest.raises(EmailTaken):
        await change_me(replica, ada, "email", email=eve.email.upper())
    assert (await replica.users.me(ada)).email == "ada@example.org"


async def test_an_etag_guards_against_a_change_in_between(replica: Replica, ada: Caller, root: Caller) -> None:
    etag = str((await replica.users.me(ada)).version)
    await change_me(replica, ada, "display_name", display_name="One", etag=etag)
    with pytest.raises(EtagMismatch):
        await change_me(replica, ada, "display_name", display_name="Two", etag=etag)
    with pytest.raises(EtagMismatch):
        await change(replica, root, ada.actor_id, ["limits"], limits=LIMITED, etag=etag)
    assert (await replica.users.me(ada)).display_name == "One"


async def test_a_repeated_request_changes_nothing_more(replica: Replica, ada: Caller, root: Caller) -> None:
    for caller, name in ((ada, "One"), (root, "")):
        key = RequestKey(owner_id=caller.owner_id, method="m", request_id="r", payload_hash=b"p")
        other = RequestKey(owner_id=caller.owner_id, method="m", request_id="r", payload_hash=b"q")
        for expected in ("done", "repeated"):
            if caller is ada:
                seen = await change_me(replica, ada, "display_name", display_name=name, key=key)
                await change_me(replica, ada, "display_name", display_name="Two")
                assert seen.display_name == ("One" if expected == "done" else "Two")
            else:
                seen = await change(replica, root, ada.actor_id, ["limits"], limits=LIMITED, key=key)
                await change(replica, root, ada.actor_id, ["limits"])
                assert seen.limits == (LIMITED if expected == "done" else UserLimits())
        with pytest.raises(RequestIdReused):
            await change_me(replica, caller, "display_name", display_name="Three", key=other)


async def test_a_service_has_no_address_and_its_subjects_no_account(replica: Replica) -> None:
    await replica.accounts.create_service(username="robot")
    issued = await replica.accounts.create_api_key(
        login="robot", name="k", scopes=[Scope.ACCOUNT_WRITE, Scope.ACT_AS], expires_at=None
    )
    robot = await replica.authenticator.authenticate(issued.text)
    assert (await change_me(replica, robot, "display_name", display_name="R2")).display_name == "R2"
    with pytest.raises(FieldInvalid):
        await change_me(replica, robot, "email", email="r@r")
    with pytest.raises(SubjectUnexpected):
        await change_me(replica, await replica.authenticator.authenticate(issued.text, "ann"), "display_name")


async def test_ones_own_account_is_no_other(replica: Replica, ada: Caller) -> None:
    eve = await replica.sign_up("eve")
    assert (await change_me(replica, ada, "display_name", display_name="A", user_id=ada.actor_id)).display_name == "A"
    with pytest.raises(UserNotFound):
        await change_me(replica, ada, "display_name", display_name="E", user_id=eve.id)
    assert await replica.users.get(eve.id) == eve


async def test_an_administrator_sets_limits_one_by_one_or_together(replica: Replica, ada: Caller, root: Caller) -> None:
    user = await change(replica, root, ada.actor_id, ["limits"], limits=LIMITED)
    assert user.limits == LIMITED
    user = await change(replica, root, ada.actor_id, ["limits.messages_per_day"], limits=UserLimits(messages_per_day=0))
    assert user.limits == UserLimits(messages_per_day=0, messages_per_month=5)
    user = await change(replica, root, ada.actor_id, ["limits.messages_per_month"])
    assert user.limits == UserLimits(messages_per_day=0)
    assert not await is_refused(replica, ada)


@pytest.mark.parametrize(
    ("paths", "values", "field"),
    [
        (["email"], {"email": "e@e"}, "update_mask.paths[0]"),
        (["display_name"], {}, "update_mask.paths[0]"),
        (["role"], {}, "user.role"),
        (["state"], {}, "user.state"),
        (["role"], {"role": UserRole.SERVICE}, "user.role"),
    ],
)
async def test_an_administrator_sets_nothing_else(
    replica: Replica, ada: Caller, root: Caller, paths: list[str], values: dict[str, Any], field: str
) -> None:
    with pytest.raises(FieldInvalid) as refused:
        await change(replica, root, ada.actor_id, paths, **values)
    assert [violation.field for violation in refused.value.violations] == [field]
    service = await replica.accounts.create_service(username="robot")
    with pytest.raises(FieldInvalid):
        await change(replica, root, service.id, ["role"], role=UserRole.ADMIN)
    with pytest.raises(UserNotFound):
        await change(replica, root, "user_none", ["limits"])


async def test_a_new_role_counts_at_once_everywhere(replica: Replica, site: Site, ada: Caller, root: Caller) -> None:
    elsewhere = await site.start()
    assert (ada.scopes, root.scopes) == (SESSION_SCOPES, SESSION_SCOPES | ADMIN_SCOPES)
    await change(replica, root, ada.actor_id, ["role"], role=UserRole.ADMIN)
    assert await is_refused(replica, ada)
    promoted = await sign_in(replica, "ada")
    assert promoted.scopes == root.scopes
    issued = await replica.accounts.create_api_key(
        login="root", name="k", scopes=["users:read", "chat:read"], expires_at=None
    )
    assert (await elsewhere.authenticator.authenticate(issued.text)).scopes == {"users:read", "chat:read"}
    ended = list[Exception]()
    elsewhere.watch.subscribe(await elsewhere.authenticator.authenticate(issued.text), ended.append)
    await demote(replica, promoted, root.actor_id)
    await elsewhere.watch.poll()
    for place in (replica, elsewhere):
        assert await is_refused(place, root)
        assert (await place.authenticator.authenticate(issued.text)).scopes == {"chat:read"}
    assert not ended
    assert (await sign_in(replica, "root")).scopes == SESSION_SCOPES


async def test_an_administrator_who_is_none_any_more_changes_nothing_in_the_moment_that_others_do_not_know(
    replica: Replica, site: Site, ada: Caller, root: Caller
) -> None:
    elsewhere = await site.start()
    await replica.accounts.create_admin(username="second", email="s@s", password=PASSWORD)
    issued = await replica.accounts.create_api_key(login="root", name="k", scopes=["users:write"], expires_at=None)
    key = await elsewhere.authenticator.authenticate(issued.text)
    await demote(replica, await sign_in(replica, "second"), root.actor_id)
    for caller in (root, key):
        assert not await is_refused(elsewhere, caller)
        with pytest.raises(ScopeMissing):
            await disable(elsewhere, caller, ada.actor_id)
    assert (await replica.users.get(ada.actor_id)).state is UserState.ACTIVE


async def test_a_disabled_account_is_not_changed_by_its_key_in_the_moment_that_others_do_not_know(
    replica: Replica, site: Site, ada: Caller, root: Caller
) -> None:
    elsewhere = await site.start()
    issued = await replica.accounts.create_api_key(login="ada", name="k", scopes=["account:write"], expires_at=None)
    key = await elsewhere.authenticator.authenticate(issued.text)
    await disable(replica, root, ada.actor_id)
    assert not await is_refused(elsewhere, key)
    with pytest.raises(AccountDisabled):
        await change_me(elsewhere, key, "email", email="thief@example.org")
    assert (await replica.users.get(ada.actor_id)).email != "thief@example.org"


async def test_disabling_ends_sessions_keys_and_runs(replica: Replica, site: Site, ada: Caller, root: Caller) -> None:
    elsewhere = await site.start()
    run = await start_run(replica, ada.owner_id, ada.actor_id)
    issued = await replica.accounts.create_api_key(login="ada", name="k", scopes=["chat:read"], expires_at=None)
    key = await elsewhere.authenticator.authenticate(issued.text)
    user = await disable(replica, root, ada.actor_id)
    assert user.state is UserState.DISABLED
    assert replica.cancelled == [run.id]
    assert await is_refused(replica, ada)
    assert await is_refused(replica, key)
    await elsewhere.watch.poll()
    assert await is_refused(elsewhere, ada)
    assert await is_refused(elsewhere, key)
    async with replica.storage.read() as tx:
        (cancelled,) = [await tx.runs.get(ada.owner_id, run.id)]
    assert cancelled.cancel_requested_at is not None
    await change(replica, root, ada.actor_id, ["state"], state=UserState.ACTIVE)
    await sign_in(replica, "ada")
    await replica.authenticator.authenticate(issued.text)


@pytest.mark.parametrize("way", [demote, disable])
async def test_the_last_administrator_stays(replica: Replica, root: Caller, way: Any) -> None:
    with pytest.raises(LastAdministrator):
        await way(replica, root, root.actor_id)
    assert (await change(replica, root, root.actor_id, ["limits"], limits=LIMITED)).limits == LIMITED
    off = await replica.accounts.create_admin(username="off", email="o@o", password=PASSWORD)
    await disable(replica, root, off.id)
    with pytest.raises(LastAdministrator):
        await way(replica, root, root.actor_id)
    await change(replica, root, off.id, ["state"], state=UserState.ACTIVE)
    await way(replica, root, root.actor_id)


async def test_two_administrators_who_lock_each_other_out_at_once_leave_one(replica: Replica, root: Caller) -> None:
    await replica.accounts.create_admin(username="second", email="s@s", password=PASSWORD)
    second = await sign_in(replica, "second")

    async def try_to(caller: Caller, other: Caller) -> bool:
        with suppress(ChatterError):
            await disable(replica, caller, other.actor_id)
            return True
        return False

    assert sorted(await asyncio.gather(try_to(root, second), try_to(second, root))) == [False, True]
