"""What each field of AuthService's requests does."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import uuid4

from tests.acceptance.platform.effects.site import Effect, Site

PASSWORD: Final = "correct horse battery"


async def register(site: Site, **given: Any) -> Any:
    """Make an account with a name of its own."""
    name = f"user-{uuid4().hex[:12]}"
    fields = {"username": name, "email": f"{name}@example.org", "password": PASSWORD, **given}
    return (await site.anyone.ok("Register", **fields)).user


async def may_log_in(site: Site, login: str, password: str = PASSWORD) -> bool:
    """Whether a name and a password open a session."""
    reason = await site.anyone.reason("Login", login=login, password=password)
    assert reason in {"", "LOGIN_FAILED"}
    return reason == ""


async def is_a_name_to_log_in_with(site: Site) -> None:
    user = await register(site, username="Ada_L-" + uuid4().hex[:8])
    assert user.username.startswith("Ada_L-")
    assert await may_log_in(site, user.username.lower())
    assert await site.anyone.reason("Register", username=user.username, email="a@b", password=PASSWORD) == (
        "USERNAME_TAKEN"
    )


async def is_an_address_to_log_in_with(site: Site) -> None:
    address = f"{uuid4().hex}@example.org"
    user = await register(site, email=address)
    assert user.email == address
    assert await may_log_in(site, address)
    again = {"username": uuid4().hex, "email": address, "password": PASSWORD}
    assert await site.anyone.reason("Register", **again) == "EMAIL_TAKEN"


async def is_asked_for_at_login(site: Site) -> None:
    user = await register(site, password="a password of its own")
    assert await may_log_in(site, user.username, "a password of its own")
    assert not await may_log_in(site, user.username)


async def is_shown(site: Site) -> None:
    user = await register(site, display_name="Ada Löve \N{SNOWMAN}")
    tokens = (await site.anyone.ok("Login", login=user.username, password=PASSWORD)).tokens
    me = await site.anyone.trusting(tokens.access_token).ok("GetMe")
    assert (me.user.id, me.user.display_name) == (user.id, "Ada Löve \N{SNOWMAN}")


async def chooses_the_account(site: Site) -> None:
    users = [await register(site) for _ in range(2)]
    for user in users:
        assert (await site.anyone.ok("Login", login=user.username, password=PASSWORD)).user.id == user.id
    assert not await may_log_in(site, f"not-{users[0].username}")


async def is_held_against_the_account(site: Site) -> None:
    user = await register(site)
    assert await may_log_in(site, user.username)
    assert not await may_log_in(site, user.username, PASSWORD.upper())


async def is_exchanged(site: Site) -> None:
    tokens = (await site.anyone.ok("Refresh", refresh_token=site.account.tokens.refresh_token)).tokens
    assert tokens.refresh_token != site.account.tokens.refresh_token
    me = await site.anyone.trusting(tokens.access_token).ok("GetMe")
    assert me.user.id == site.account.user.id
    assert await site.anyone.reason("Refresh", refresh_token=tokens.access_token) == "TOKEN_INVALID"


EFFECTS: Final[Mapping[str, Effect]] = {
    "Register.username": is_a_name_to_log_in_with,
    "Register.email": is_an_address_to_log_in_with,
    "Register.password": is_asked_for_at_login,
    "Register.display_name": is_shown,
    "Login.login": chooses_the_account,
    "Login.password": is_held_against_the_account,
    "Refresh.refresh_token": is_exchanged,
}
