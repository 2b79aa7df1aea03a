"""What each field of UserService's requests does."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import uuid4

from chatter_grpc._gen.chatter.v1 import user_pb2
from tests.acceptance.platform.effects.accounts import may_log_in, register
from tests.acceptance.platform.effects.site import Effect, Site

MEMBER, SERVICE, ADMIN = user_pb2.USER_ROLE_MEMBER, user_pb2.USER_ROLE_SERVICE, user_pb2.USER_ROLE_ADMIN
ACTIVE, DISABLED = user_pb2.USER_STATE_ACTIVE, user_pb2.USER_STATE_DISABLED
LIMITS: Final = ("messages_per_day", "messages_per_month")
# Values of the fields of an account, each other than what it has.
OTHER: Final[Mapping[str, Any]] = {
    "username": "another-name",
    "email": "another@example.org",
    "display_name": "Another",
    "role": ADMIN,
    "state": DISABLED,
    "create_time": {"seconds": 99},
    "last_login_time": {"seconds": 99},
    "limits.messages_per_day": 7,
    "limits.messages_per_month": 7,
}
OF_ONES_OWN: Final = ("email", "display_name")
ADMINISTERED: Final = ("role", "state", *(f"limits.{name}" for name in LIMITS))


def values(path: str) -> dict[str, Any]:
    """A field's other value, as a field of User."""
    name, _, part = path.partition(".")
    return {name: {part: OTHER[path]} if part else OTHER[path]}


async def caller(site: Site, method: str) -> Any:
    """Who may call a method."""
    return site.client if method == "UpdateMe" else await site.administrator()


async def me(site: Site) -> Any:
    return (await site.client.ok("GetMe")).user


async def set_me(site: Site, *paths: str, **fields: Any) -> Any:
    """Update the caller's own account and return it."""
    return (await site.client.ok("UpdateMe", user=fields, update_mask={"paths": paths})).user


async def administered(site: Site, *paths: str, **fields: Any) -> Any:
    """Have an administrator update the caller's account and return it as it is read then."""
    root = await site.administrator()
    user_id = site.account.user.id
    await root.ok("UpdateUser", user={"id": user_id, **fields}, update_mask={"paths": paths})
    return (await root.ok("GetUser", user_id=user_id)).user


def cannot_be_set(method: str, path: str) -> Effect:
    """To name a field that is not for this method is refused; what is sent of it without naming it is not read."""

    async def effect(site: Site) -> None:
        before = await me(site)
        sent = {"id": before.id, **values(path)}
        client = await caller(site, method)
        refused = await client.call(method, user=sent, update_mask={"paths": [path]})
        assert (refused.reason, list(refused.fields)) == ("FIELD_INVALID", ["update_mask.paths[0]"])
        named = "display_name" if method == "UpdateMe" else "limits.messages_per_day"
        await client.ok(method, user={**sent, **values(named)}, update_mask={"paths": [named]})
        after = await me(site)
        for field in before.DESCRIPTOR.fields:
            if field.name not in {"etag", named.partition(".")[0]}:
                assert getattr(after, field.name) == getattr(before, field.name)

    return effect


def changes_once(method: str) -> Effect:
    async def effect(site: Site) -> None:
        client = await caller(site, method)
        path = "display_name" if method == "UpdateMe" else "limits"
        sent: dict[str, Any] = {"display_name": "One"} if method == "UpdateMe" else {"limits": {}}
        sent = {"id": site.account.user.id, **sent}
        request = {"request_id": "once", "user": sent, "update_mask": {"paths": [path]}}
        first = (await client.ok(method, **request)).user
        await set_me(site, "display_name", display_name="Two")
        await administered(site, "limits.messages_per_day", limits={"messages_per_day": 9})
        again = (await client.ok(method, **request)).user
        assert again == await me(site) != first
        other = {**request, "user": {**sent, "etag": "7"}}
        assert await client.reason(method, **other) == "REQUEST_ID_REUSED"

    return effect


async def is_ones_own_or_left_out(site: Site) -> None:
    own, other = site.account.user.id, (await register(site)).id
    for user_id in (own, ""):
        assert (await set_me(site, "display_name", id=user_id, display_name=f"A{user_id}")).id == own
    given = {"user": {"id": other, "display_name": "B"}, "update_mask": {"paths": ["display_name"]}}
    assert await site.client.reason("UpdateMe", **given) == "USER_NOT_FOUND"


async def chooses_whom_to_change(site: Site) -> None:
    root = await site.administrator()
    one, two = [await register(site) for _ in range(2)]
    given = {"limits": {"messages_per_day": 3}}
    await root.ok("UpdateUser", user={"id": one.id, **given}, update_mask={"paths": ["limits"]})
    limits = [(await root.ok("GetUser", user_id=user.id)).user.limits for user in (one, two)]
    assert [each.HasField("messages_per_day") for each in limits] == [True, False]
    assert await root.reason("UpdateUser", user={"id": "user_none"}, update_mask={"paths": ["limits"]}) == (
        "USER_NOT_FOUND"
    )
    assert await root.reason("UpdateUser", user=given, update_mask={"paths": ["limits"]}) == "FIELD_INVALID"


async def is_shown(site: Site) -> None:
    await set_me(site, "display_name", display_name="Löve \N{SNOWMAN}")
    assert (await me(site)).display_name == "Löve \N{SNOWMAN}"
    await set_me(site, "display_name")
    assert (await me(site)).display_name == ""


async def is_an_address_to_log_in_with(site: Site) -> None:
    address = f"{uuid4().hex}@example.org"
    assert (await set_me(site, "email", email=address)).email == address
    assert await may_log_in(site, address, site.account.password)
    assert not await may_log_in(site, site.account.user.email, site.account.password)
    taken = (await register(site)).email
    for email, reason in ((taken, "EMAIL_TAKEN"), ("no address", "FIELD_INVALID"), ("", "FIELD_INVALID")):
        given = {"user": {"email": email}, "update_mask": {"paths": ["email"]}}
        assert await site.client.reason("UpdateMe", **given) == reason


def guards_a_change(method: str) -> Effect:
    async def effect(site: Site) -> None:
        client = await caller(site, method)
        path = "display_name" if method == "UpdateMe" else "limits"
        sent: dict[str, Any] = {"display_name": "A"} if method == "UpdateMe" else {"limits": {}}
        stale = (await me(site)).etag
        await administered(site, "limits.messages_per_day", limits={"messages_per_day": 9})
        fresh = (await me(site)).etag
        for etag, reason in ((stale, "ETAG_MISMATCH"), (fresh, "")):
            given = {"user": {"id": site.account.user.id, "etag": etag, **sent}, "update_mask": {"paths": [path]}}
            assert await client.reason(method, **given) == reason

    return effect


def says_what_is_read(method: str) -> Effect:
    async def effect(site: Site) -> None:
        client = await caller(site, method)
        before = await me(site)
        sent = {"id": before.id, "display_name": "A", "limits": {"messages_per_day": 1, "messages_per_month": 2}}
        for paths in ([], ["no_such_field"], ["password_hash"], ["limits.more"], ["role.more"]):
            given = {"user": sent, "update_mask": {"paths": paths}}
            assert await client.reason(method, **given) == "FIELD_INVALID", paths
        assert await me(site) == before
        path = "display_name" if method == "UpdateMe" else "limits.messages_per_month"
        await client.ok(method, user=sent, update_mask={"paths": [path]})
        after = await me(site)
        assert after.display_name == ("A" if method == "UpdateMe" else before.display_name)
        assert after.limits.messages_per_month == (0 if method == "UpdateMe" else 2)
        assert not after.limits.HasField("messages_per_day")

    return effect


async def gives_rights(site: Site) -> None:
    assert await site.client.reason("ListUsers") == "SCOPE_MISSING"
    assert (await administered(site, "role", role=ADMIN)).role == ADMIN
    assert await site.client.reason("GetMe") == "SESSION_REVOKED"
    login = {"login": site.account.user.username, "password": site.account.password}
    again = site.anyone.trusting((await site.anyone.ok("Login", **login)).tokens.access_token)
    assert await again.reason("ListUsers") == ""
    root = await site.administrator()
    for role in (SERVICE, user_pb2.USER_ROLE_UNSPECIFIED, 99):
        given = {"user": {"id": site.account.user.id, "role": role}, "update_mask": {"paths": ["role"]}}
        assert await root.reason("UpdateUser", **given) == "FIELD_INVALID"


async def locks_out(site: Site) -> None:
    assert (await administered(site, "state", state=DISABLED)).state == DISABLED
    assert await site.client.reason("GetMe") == "SESSION_REVOKED"
    login = {"login": site.account.user.username, "password": site.account.password}
    assert await site.anyone.reason("Login", **login) == "ACCOUNT_DISABLED"
    await administered(site, "state", state=ACTIVE)
    assert await site.anyone.reason("Login", **login) == ""


def is_kept_for_what_counts_messages(name: str) -> Effect:
    async def effect(site: Site) -> None:
        assert not (await me(site)).limits.HasField(name)
        for amount in (0, 5):
            assert getattr((await administered(site, f"limits.{name}", limits={name: amount})).limits, name) == amount
            assert (await me(site)).limits.HasField(name)
        assert not (await administered(site, "limits")).limits.HasField(name)
        root = await site.administrator()
        given = {"user": {"id": site.account.user.id, "limits": {name: -1}}, "update_mask": {"paths": ["limits"]}}
        assert await root.reason("UpdateUser", **given) == "FIELD_INVALID"

    return effect


async def chooses_the_account(site: Site) -> None:
    root = await site.administrator()
    for user in [await register(site) for _ in range(2)]:
        assert (await root.ok("GetUser", user_id=user.id)).user == user
    assert await root.reason("GetUser", user_id="user_none") == "USER_NOT_FOUND"


async def listed(site: Site, **given: Any) -> list[str]:
    return [user.username for user in (await (await site.administrator()).ok("ListUsers", **given)).users]


async def three(site: Site) -> tuple[str, list[str]]:
    """Three accounts, what all their names hold and no other's does, and their names, the latest first."""
    mark = uuid4().hex[:10]
    return mark, [(await register(site, username=f"{name}-{mark}")).username for name in "abc"][::-1]


async def bounds_the_page(site: Site) -> None:
    mark, names = await three(site)
    for size, found in ((1, 1), (2, 2), (3, 3), (0, 3), (9999, 3)):
        assert await listed(site, text=mark, page_size=size) == names[:found]
    assert await (await site.administrator()).reason("ListUsers", page_size=-1) == "FIELD_INVALID"


async def continues_the_list(site: Site) -> None:
    mark, names = await three(site)
    root = await site.administrator()
    first = await root.ok("ListUsers", text=mark, page_size=2)
    assert await listed(site, text=mark, page_size=2, page_token=first.next_page_token) == names[2:]
    for other in ({"text": mark, "page_token": "forged"}, {"text": "", "page_token": first.next_page_token}):
        assert await root.reason("ListUsers", **other) == "PAGE_TOKEN_INVALID"


async def keeps_a_role(site: Site) -> None:
    name = site.account.user.username
    assert await listed(site, text=name, role=MEMBER) == [name]
    assert await listed(site, text=name, role=ADMIN) == []
    await administered(site, "role", role=ADMIN)
    assert [await listed(site, text=name, role=role) for role in (0, MEMBER, ADMIN)] == [[name], [], [name]]


async def keeps_a_state(site: Site) -> None:
    name = site.account.user.username
    await administered(site, "state", state=DISABLED)
    assert [await listed(site, text=name, state=state) for state in (0, ACTIVE, DISABLED)] == [[name], [], [name]]


async def keeps_what_holds_a_text(site: Site) -> None:
    mark, names = await three(site)
    assert await listed(site, text=mark.upper()) == names
    assert await listed(site, text=f"{mark}@EXAMPLE") == []
    assert await listed(site, text=f"not-{mark}") == []
    await set_me(site, "display_name", display_name=f"Called {mark}")
    assert await listed(site, text=f"called {mark}") == [site.account.user.username]


EFFECTS: Final[Mapping[str, Effect]] = {
    **{f"{method}.request_id": changes_once(method) for method in ("UpdateMe", "UpdateUser")},
    **{f"{method}.user.etag": guards_a_change(method) for method in ("UpdateMe", "UpdateUser")},
    **{f"{method}.update_mask": says_what_is_read(method) for method in ("UpdateMe", "UpdateUser")},
    **{f"UpdateMe.user.{path}": cannot_be_set("UpdateMe", path) for path in OTHER if path not in OF_ONES_OWN},
    **{f"UpdateUser.user.{path}": cannot_be_set("UpdateUser", path) for path in OTHER if path not in ADMINISTERED},
    "UpdateMe.user.id": is_ones_own_or_left_out,
    "UpdateMe.user.email": is_an_address_to_log_in_with,
    "UpdateMe.user.display_name": is_shown,
    "UpdateUser.user.id": chooses_whom_to_change,
    "UpdateUser.user.role": gives_rights,
    "UpdateUser.user.state": locks_out,
    **{f"UpdateUser.user.limits.{name}": is_kept_for_what_counts_messages(name) for name in LIMITS},
    "GetUser.user_id": chooses_the_account,
    "ListUsers.page_size": bounds_the_page,
    "ListUsers.page_token": continues_the_list,
    "ListUsers.role": keeps_a_role,
    "ListUsers.state": keeps_a_state,
    "ListUsers.text": keeps_what_holds_a_text,
}
