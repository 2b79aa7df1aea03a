"""A changed password holds from then on, ends what was opened with the one before, and is guessed no faster."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import pytest

from chatter_grpc.adapters.tokens.passwords import Argon2Hasher
from chatter_grpc.core.callers import Caller, Scope
from chatter_grpc.core.errors import (
    AccountDisabled,
    FieldInvalid,
    LoginFailed,
    LoginThrottled,
    PasswordAbsent,
    PasswordWrong,
    SessionRequired,
    SessionRevoked,
)
from tests.support.identity import ADDRESS, PASSWORD, Replica, Site

NEW = "another horse altogether"


async def sign_in(replica: Replica, password: str = PASSWORD) -> Caller:
    tokens = await replica.log_in(password=password)
    return await replica.authenticator.authenticate(tokens.access_token)


async def change(replica: Replica, caller: Caller, current: str = PASSWORD, new: str = NEW) -> int:
    return await replica.auth.change_password(caller, current=current, new=new, address=ADDRESS)


async def is_open(replica: Replica, caller: Caller) -> bool:
    try:
        replica.authenticator.check(caller)
    except SessionRevoked:
        return False
    return True


async def test_a_new_password_opens_sessions_and_the_old_one_does_not(replica: Replica) -> None:
    await replica.sign_up()
    await change(replica, await sign_in(replica))
    with pytest.raises(LoginFailed):
        await replica.log_in()
    await replica.log_in(password=NEW)


async def test_a_change_ends_every_session_but_its_own_and_says_how_many(replica: Replica, site: Site) -> None:
    await replica.sign_up()
    own, first, second = [await sign_in(replica) for _ in range(3)]
    assert await change(replica, own) == 2
    assert [await is_open(replica, caller) for caller in (own, first, second)] == [True, False, False]
    elsewhere = await site.start()
    assert [await is_open(elsewhere, caller) for caller in (own, first, second)] == [True, False, False]


async def test_refresh_tokens_of_ended_sessions_are_refused_and_ones_own_goes_on(replica: Replica) -> None:
    await replica.sign_up()
    kept, ended = await replica.log_in(), await replica.log_in()
    await change(replica, await replica.authenticator.authenticate(kept.access_token))
    with pytest.raises(SessionRevoked):
        await replica.auth.refresh(ended.refresh_token)
    await replica.auth.refresh(kept.refresh_token)


async def test_a_wrong_password_changes_nothing(replica: Replica) -> None:
    await replica.sign_up()
    own, other = await sign_in(replica), await sign_in(replica)
    with pytest.raises(PasswordWrong):
        await change(replica, own, current="wrong horse")
    assert await is_open(replica, other)
    await replica.log_in()


async def test_wrong_passwords_count_together_with_failed_logins(replica: Replica) -> None:
    await replica.sign_up()
    own = await sign_in(replica)
    for _ in range(3):
        with pytest.raises(PasswordWrong):
            await change(replica, own, current="wrong horse")
    for _ in range(2):
        with pytest.raises(LoginFailed):
            await replica.log_in(password="wrong horse")
    for refused in (change(replica, own), replica.log_in()):
        with pytest.raises(LoginThrottled):
            await refused


@pytest.mark.parametrize("new", ["short", "x" * 129])
async def test_a_password_that_breaks_its_rule_is_refused(replica: Replica, new: str) -> None:
    await replica.sign_up()
    with pytest.raises(FieldInvalid) as refused:
        await change(replica, await sign_in(replica), new=new)
    assert [violation.field for violation in refused.value.violations] == ["new_password"]
    await replica.log_in()


async def test_an_api_key_neither_changes_a_password_nor_ends_sessions(replica: Replica) -> None:
    await replica.sign_up()
    other = await sign_in(replica)
    issued = await replica.accounts.create_api_key(login="ada", name="k", scopes=[Scope.ACCOUNT_WRITE], expires_at=None)
    caller = await replica.authenticator.authenticate(issued.text)
    with pytest.raises(SessionRequired):
        await change(replica, caller)
    with pytest.raises(SessionRequired):
        await replica.auth.logout_everywhere(caller)
    assert await is_open(replica, other)


async def test_an_account_without_a_password_is_told_so(replica: Replica) -> None:
    await replica.accounts.create_service(username="robot")
    issued = await replica.accounts.create_api_key(login="robot", name="k", scopes=["chat:read"], expires_at=None)
    with pytest.raises(PasswordAbsent):
        await change(replica, await replica.authenticator.authenticate(issued.text))


@pytest.mark.parametrize("way", ["disabled", "ended"])
async def test_credentials_that_no_longer_hold_do_not_set_a_password(replica: Replica, site: Site, way: str) -> None:
    """Another replica hears of a revocation a moment later; in that moment nothing is made that lasts."""
    await replica.sign_up()
    elsewhere = await site.start()
    caller = await sign_in(elsewhere)
    await (replica.accounts.disable_user("ada") if way == "disabled" else replica.auth.logout_everywhere(caller))
    with pytest.raises(AccountDisabled if way == "disabled" else SessionRevoked):
        await change(elsewhere, caller)
    await replica.accounts.enable_user("ada")
    await replica.log_in()


async def test_of_two_changes_at_once_one_is_made_with_a_password_that_is_the_old_one_by_then(replica: Replica) -> None:
    await replica.sign_up()
    own = await sign_in(replica)

    async def try_change(new: str) -> bool:
        with suppress(PasswordWrong):
            await change(replica, own, new=new)
            return True
        return False

    names = ["the first new one", "the second new one"]
    made = await asyncio.gather(*map(try_change, names))
    assert sorted(made) == [False, True]
    await replica.log_in(password=names[made.index(True)])


@dataclass
class Interrupted:
    """Hashes passwords, and has something happen once, after the first one was verified."""

    hasher: Argon2Hasher
    meanwhile: Callable[[], Awaitable[object]] | None

    async def verify(self, password: str, password_hash: str | None) -> bool:
        fits = await self.hasher.verify(password, password_hash)
        if self.meanwhile is not None:
            happen, self.meanwhile = self.meanwhile, None
            await happen()
        return fits

    def needs_rehash(self, password_hash: str) -> bool:
        return self.hasher.needs_rehash(password_hash)


@pytest.mark.parametrize("new", [NEW, PASSWORD])
async def test_a_login_that_verified_a_password_which_is_changed_meanwhile_verifies_again(
    replica: Replica, monkeypatch: pytest.MonkeyPatch, new: str
) -> None:
    """Otherwise a session of the old password would outlive the change that ends them all."""
    user = await replica.sign_up()
    new_hash = await replica.hasher.hash(new)

    async def change_it() -> None:
        async with replica.storage.write() as tx:
            assert user.password_hash is not None
            assert await tx.users.set_password(user.id, new_hash, instead_of=user.password_hash)

    monkeypatch.setattr(replica.auth, "_passwords", Interrupted(replica.hasher, change_it))
    if new == PASSWORD:
        await replica.log_in()
    else:
        with pytest.raises(LoginFailed):
            await replica.log_in()
    async with replica.storage.read() as tx:
        now = await tx.users.get(user.id)
    assert now is not None
    assert (now.last_login_at is None) == (new == NEW)


async def test_logging_out_everywhere_ends_all_sessions_and_leaves_keys_alone(replica: Replica, site: Site) -> None:
    await replica.sign_up()
    await replica.sign_up("eve")
    own, other = await sign_in(replica), await sign_in(replica)
    eve = await replica.authenticator.authenticate((await replica.log_in("eve")).access_token)
    issued = await replica.accounts.create_api_key(login="ada", name="k", scopes=["chat:read"], expires_at=None)
    assert await replica.auth.logout_everywhere(own) == 2
    for place in (replica, await site.start()):
        assert [await is_open(place, caller) for caller in (own, other, eve)] == [False, False, True]
        assert await place.authenticator.authenticate(issued.text)
    await replica.log_in()
