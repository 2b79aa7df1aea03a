"""Anyone may make an account where that is open, under names that nobody else has."""

import asyncio
from dataclasses import replace

import pytest

from chatter_grpc.core.errors import (
    EmailTaken,
    FieldInvalid,
    LoginFailed,
    RateLimited,
    RegistrationClosed,
    UsernameTaken,
)
from chatter_grpc.core.limits import Limit
from chatter_grpc.core.users import UserRole, UserState
from tests.support.identity import ADDRESS, PASSWORD, Replica, Site


async def test_a_new_account_is_an_active_member_with_what_was_given(replica: Replica) -> None:
    user = await replica.auth.register(
        username="ada", email="ada@example.org", password=PASSWORD, display_name="Ada L.", address=ADDRESS
    )
    assert user.id.startswith("user_")
    assert (user.username, user.email, user.display_name) == ("ada", "ada@example.org", "Ada L.")
    assert (user.role, user.state, user.created_at) == (UserRole.MEMBER, UserState.ACTIVE, replica.clock.now)
    async with replica.storage.read() as tx:
        assert await tx.users.get(user.id) == user


async def test_the_password_is_kept_as_a_hash_alone(replica: Replica) -> None:
    user = await replica.sign_up()
    assert user.password_hash is not None
    assert user.password_hash.startswith("$argon2id$")
    assert PASSWORD not in repr(user)


async def test_a_closed_server_takes_no_registration(site: Site) -> None:
    replica = await site.start(replace(site.settings, registration_open=False))
    with pytest.raises(RegistrationClosed):
        await replica.sign_up()
    with pytest.raises(LoginFailed):
        await replica.log_in()


@pytest.mark.parametrize("username", ["ada", "ADA", "Ada"])
async def test_a_username_is_taken_in_any_case_of_its_letters(replica: Replica, username: str) -> None:
    await replica.sign_up("ada")
    with pytest.raises(UsernameTaken):
        await replica.auth.register(
            username=username, email="other@example.org", password=PASSWORD, display_name="", address=""
        )


async def test_an_email_address_is_taken_in_any_case_of_its_letters(replica: Replica) -> None:
    await replica.sign_up("ada")
    with pytest.raises(EmailTaken):
        await replica.auth.register(
            username="other", email="ADA@Example.ORG", password=PASSWORD, display_name="", address=""
        )


async def test_of_two_registrations_at_once_one_gets_the_name(replica: Replica) -> None:
    outcomes = await asyncio.gather(*(replica.sign_up("ada") for _ in range(2)), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["User", "UsernameTaken"]


async def test_every_field_that_breaks_a_rule_is_named(replica: Replica) -> None:
    with pytest.raises(FieldInvalid) as refused:
        await replica.auth.register(
            username="a@b", email="nowhere", password="short", display_name="x" * 101, address=""
        )
    assert [violation.field for violation in refused.value.violations] == [
        "username",
        "email",
        "display_name",
        "password",
    ]


async def test_one_address_does_not_register_without_end(site: Site) -> None:
    replica = await site.start(replace(site.settings, registrations_per_address=Limit(amount=1, seconds=60)))

    async def register(username: str, address: str) -> None:
        await replica.auth.register(
            username=username, email=f"{username}@example.org", password=PASSWORD, display_name="", address=address
        )

    await register("first", ADDRESS)
    with pytest.raises(RateLimited) as refused:
        await register("second", ADDRESS)
    assert refused.value.retry_after == 60
    await register("third", "192.0.2.8")
    replica.clock.advance(60)
    await register("fourth", ADDRESS)
