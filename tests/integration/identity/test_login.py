"""Login opens sessions for those who know the password, and slows down those who guess it."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import argon2
import pytest

from chatter_grpc.adapters.sql.sessions import SqlSessions
from chatter_grpc.adapters.sql.users import SqlUsers
from chatter_grpc.core.errors import AccountDisabled, LoginFailed, LoginThrottled
from chatter_grpc.core.tokens import TokenKind
from chatter_grpc.core.users import User
from tests.support.identity import ADDRESS, PASSWORD, Replica


@pytest.mark.parametrize("login", ["ada", "ADA", "ada@example.org", "Ada@Example.org"])
async def test_a_username_or_an_email_address_logs_in(replica: Replica, login: str) -> None:
    made = await replica.sign_up()
    tokens, user = await replica.auth.login(login=login, password=PASSWORD, address=ADDRESS)
    assert user == replace(made, last_login_at=replica.clock.now)
    caller = await replica.authenticator.authenticate(tokens.access_token, "")
    assert caller.actor_id == made.id


async def test_the_tokens_say_when_they_expire(replica: Replica) -> None:
    await replica.sign_up()
    tokens = await replica.log_in()
    start = replica.clock.now.replace(microsecond=0)
    assert tokens.access_expires_at == start + timedelta(minutes=20)
    assert tokens.refresh_expires_at == start + timedelta(days=7)
    access = await replica.tokens.verify(tokens.access_token, TokenKind.ACCESS)
    refresh = await replica.tokens.verify(tokens.refresh_token, TokenKind.REFRESH)
    assert (access.expires_at, refresh.expires_at) == (tokens.access_expires_at, tokens.refresh_expires_at)
    assert access.session_id == refresh.session_id
    assert access.token_id != refresh.token_id


@pytest.mark.parametrize(("login", "password"), [("ada", "wrong horse"), ("bob", PASSWORD), ("", PASSWORD)])
async def test_a_wrong_password_and_an_unknown_account_are_answered_alike(
    replica: Replica, login: str, password: str
) -> None:
    await replica.sign_up()
    with pytest.raises(LoginFailed) as refused:
        await replica.log_in(login, password)
    assert refused.value.metadata == {}


async def test_an_unknown_account_costs_the_work_of_a_wrong_password(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    await replica.sign_up()
    checked: list[bool] = []
    fits = replica.hasher._fits

    def count(password: str, password_hash: str) -> bool:
        checked.append(password_hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$"))
        return fits(password, password_hash)

    monkeypatch.setattr(replica.hasher, "_fits", count)
    for login in ("ada", "nobody"):
        with pytest.raises(LoginFailed):
            await replica.log_in(login, "wrong horse")
    assert checked == [True, True]


async def test_a_service_has_no_password_to_log_in_with(replica: Replica) -> None:
    await replica.accounts.create_service(username="robot")
    for password in ("", PASSWORD):
        with pytest.raises(LoginFailed):
            await replica.log_in("robot", password)


async def test_a_disabled_account_is_told_so_after_the_right_password_alone(replica: Replica) -> None:
    user = await replica.sign_up()
    await replica.accounts.disable_user("ada")
    with pytest.raises(LoginFailed):
        await replica.log_in(password="wrong horse")
    with pytest.raises(AccountDisabled):
        await replica.log_in()
    async with replica.storage.read() as tx:
        stored = await tx.users.get(user.id)
    assert stored is not None
    assert stored.last_login_at is None


async def test_an_account_that_is_enabled_again_logs_in(replica: Replica) -> None:
    await replica.sign_up()
    await replica.accounts.disable_user("ada")
    await replica.accounts.enable_user("ada")
    tokens = await replica.log_in()
    assert (await replica.authenticator.authenticate(tokens.access_token, "")).session_id


async def test_a_hash_with_old_parameters_is_made_again_at_login(replica: Replica) -> None:
    user = await replica.sign_up()
    weak = argon2.PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(PASSWORD)
    async with replica.storage.write() as tx:
        assert user.password_hash is not None
        await tx.users.set_password(user.id, weak, instead_of=user.password_hash)
    await replica.log_in()
    async with replica.storage.read() as tx:
        stored = await tx.users.get(user.id)
    assert stored is not None
    assert stored.password_hash is not None
    assert not replica.hasher.needs_rehash(stored.password_hash)
    await replica.log_in()


async def fail(replica: Replica, times: int, login: str = "ada", address: str = ADDRESS) -> None:
    for _ in range(times):
        with pytest.raises(LoginFailed):
            await replica.log_in(login, "wrong horse", address)


async def test_after_five_failures_even_the_right_password_has_to_wait(replica: Replica) -> None:
    await replica.sign_up()
    await fail(replica, 5)
    with pytest.raises(LoginThrottled) as refused:
        await replica.log_in()
    assert refused.value.retry_after == 900
    replica.clock.advance(899)
    with pytest.raises(LoginThrottled):
        await replica.log_in()
    replica.clock.advance(1)
    await replica.log_in()


async def test_another_address_or_another_name_of_the_account_does_not_help(replica: Replica) -> None:
    await replica.sign_up()
    await fail(replica, 3, "ada", "192.0.2.1")
    await fail(replica, 2, "ada@example.org", "192.0.2.2")
    for login in ("ada", "Ada@Example.Org"):
        with pytest.raises(LoginThrottled):
            await replica.log_in(login, address="192.0.2.3")


async def test_other_accounts_are_not_concerned(replica: Replica) -> None:
    await replica.sign_up("ada")
    await replica.sign_up("bob")
    await fail(replica, 5, "ada")
    await replica.log_in("bob")


async def test_an_account_that_does_not_exist_is_throttled_like_one_that_does(replica: Replica) -> None:
    await fail(replica, 5, "nobody")
    with pytest.raises(LoginThrottled):
        await replica.log_in("NOBODY")


async def test_success_forgets_the_failures_of_the_account(replica: Replica) -> None:
    await replica.sign_up()
    for _ in range(3):
        await fail(replica, 4)
        await replica.log_in()


async def test_after_twenty_failures_an_address_has_to_wait_whatever_the_account(replica: Replica) -> None:
    await replica.sign_up()
    for number in range(20):
        await fail(replica, 1, f"guess{number}")
    with pytest.raises(LoginThrottled):
        await replica.log_in()
    await replica.log_in(address="192.0.2.8")


async def test_success_does_not_forget_the_failures_of_the_address(replica: Replica) -> None:
    await replica.sign_up()
    for number in range(20):
        await fail(replica, 1, f"guess{number}")
        if number < 19:
            await replica.log_in()
    with pytest.raises(LoginThrottled):
        await replica.log_in()


async def test_an_unknown_address_is_not_counted(replica: Replica) -> None:
    await replica.sign_up()
    for number in range(21):
        await fail(replica, 1, f"guess{number}", address="")
    await replica.log_in(address="")


async def test_guesses_in_parallel_do_not_outrun_the_limit(replica: Replica) -> None:
    await replica.sign_up()
    guesses = (replica.log_in("ada", f"wrong horse {number}", f"192.0.2.{number}") for number in range(12))
    outcomes = await asyncio.gather(*guesses, return_exceptions=True)
    kinds = [type(outcome) for outcome in outcomes]
    assert (kinds.count(LoginFailed), kinds.count(LoginThrottled)) == (5, 7)


async def test_right_logins_in_parallel_are_all_served(replica: Replica) -> None:
    await replica.sign_up()
    tokens = await asyncio.gather(*(replica.log_in() for _ in range(8)))
    assert len({pair.access_token for pair in tokens}) == 8


@pytest.mark.parametrize(("store", "step"), [(SqlUsers, "note_login"), (SqlSessions, "add")])
async def test_an_account_that_is_disabled_in_the_middle_of_a_login_keeps_no_session(
    replica: Replica, monkeypatch: pytest.MonkeyPatch, store: type, step: str
) -> None:
    user = await replica.sign_up()
    real = getattr(store, step)
    disabling: list[asyncio.Task[User]] = []

    async def step_while_disabling(self: object, *arguments: object) -> None:
        disabling.append(asyncio.create_task(replica.accounts.disable_user("ada")))
        # Where the login holds what disabling needs, it waits for the login's end; where not, it is done here.
        await asyncio.wait(disabling, timeout=0.05)
        await real(self, *arguments)

    monkeypatch.setattr(store, step, step_while_disabling)
    with suppress(AccountDisabled):
        await replica.log_in()
    await disabling[0]
    async with replica.storage.write() as tx:
        assert await tx.sessions.revoke_all(user.id, replica.clock.now) == ()
