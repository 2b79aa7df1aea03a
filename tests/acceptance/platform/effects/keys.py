"""What each field of AuthService's requests on passwords and API keys does."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tests.acceptance.platform.effects.accounts import may_log_in
from tests.acceptance.platform.effects.site import Effect, Site
from tests.support.provider import eventually

NEW_PASSWORD: Final = "another horse altogether"


async def made(site: Site, **given: Any) -> Any:
    """Make an API key; its record and its secret."""
    return await site.client.ok("CreateApiKey", **{"name": "k", "scopes": ["chat:read"], **given})


async def listed(site: Site, **given: Any) -> list[str]:
    return [key.name for key in (await site.client.ok("ListApiKeys", **given)).api_keys]


async def has_to_be_known(site: Site) -> None:
    given = {"new_password": NEW_PASSWORD}
    assert await site.client.reason("ChangePassword", **given, current_password="wrong horse") == "PASSWORD_WRONG"
    assert await may_log_in(site, site.account.user.username, site.account.password)
    assert await site.client.reason("ChangePassword", **given, current_password=site.account.password) == ""


async def is_asked_for_from_then_on(site: Site) -> None:
    await site.client.ok("ChangePassword", current_password=site.account.password, new_password=NEW_PASSWORD)
    username = site.account.user.username
    assert await may_log_in(site, username, NEW_PASSWORD)
    assert not await may_log_in(site, username, site.account.password)


async def makes_once(site: Site) -> None:
    first, again = [await made(site, request_id="once") for _ in range(2)]
    assert (again.api_key, again.secret) == (first.api_key, "")
    assert first.secret
    given = {"request_id": "once", "name": "other", "scopes": ["chat:read"]}
    assert await site.client.reason("CreateApiKey", **given) == "REQUEST_ID_REUSED"
    assert await listed(site) == ["k"]


async def is_shown_with_the_key(site: Site) -> None:
    assert (await made(site, name="Build server")).api_key.name == "Build server"
    assert await listed(site) == ["Build server"]
    assert await site.client.reason("CreateApiKey", name="two\nlines", scopes=["chat:read"]) == "FIELD_INVALID"


async def bounds_what_the_key_may(site: Site) -> None:
    key = site.anyone.trusting((await made(site, scopes=["chat:read", "runs:read"])).secret)
    assert list((await key.ok("GetMe")).scopes) == ["chat:read", "runs:read"]
    assert await key.reason("CreateConversation") == "SCOPE_MISSING"
    assert await key.reason("ListRuns") == ""
    assert await site.client.reason("CreateApiKey", name="k", scopes=["users:read"]) == "FIELD_INVALID"


async def ends_the_key(site: Site) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1.5)
    issued = await made(site, expire_time=soon)
    assert issued.api_key.expire_time.ToDatetime(tzinfo=UTC) == soon
    key = site.anyone.trusting(issued.secret)
    assert await key.reason("GetMe") == ""

    async def is_refused() -> bool:
        return await key.reason("GetMe") == "API_KEY_INVALID"

    await eventually(is_refused)
    assert datetime.now(UTC) >= soon
    past = {"name": "k", "scopes": ["chat:read"], "expire_time": soon}
    assert await site.client.reason("CreateApiKey", **past) == "FIELD_INVALID"
    assert await site.client.reason("CreateApiKey", **{**past, "expire_time": {"seconds": 10**12}}) == "FIELD_INVALID"


async def bounds_the_page(site: Site) -> None:
    for name in "abc":
        await made(site, name=name)
    assert [len(await listed(site, page_size=size)) for size in (1, 2, 3, 0, 9999)] == [1, 2, 3, 3, 3]
    assert await site.client.reason("ListApiKeys", page_size=-1) == "FIELD_INVALID"


async def continues_the_list(site: Site) -> None:
    for name in "abc":
        await made(site, name=name)
    first = await site.client.ok("ListApiKeys", page_size=2)
    assert await listed(site, page_size=2, page_token=first.next_page_token) == ["c"]
    assert await listed(site, page_token="") == [*"abc"]
    assert await site.client.reason("ListApiKeys", page_token="forged") == "PAGE_TOKEN_INVALID"


async def chooses_what_is_revoked(site: Site) -> None:
    one, two = [await made(site) for _ in range(2)]
    revoked = (await site.client.ok("RevokeApiKey", api_key_id=one.api_key.id)).api_key
    assert (revoked.id, revoked.HasField("revoke_time")) == (one.api_key.id, True)
    reasons = [await site.anyone.trusting(each.secret).reason("GetMe") for each in (one, two)]
    assert reasons == ["API_KEY_INVALID", ""]
    assert await site.client.reason("RevokeApiKey", api_key_id="key_none") == "API_KEY_NOT_FOUND"


EFFECTS: Final[Mapping[str, Effect]] = {
    "ChangePassword.current_password": has_to_be_known,
    "ChangePassword.new_password": is_asked_for_from_then_on,
    "CreateApiKey.request_id": makes_once,
    "CreateApiKey.name": is_shown_with_the_key,
    "CreateApiKey.scopes": bounds_what_the_key_may,
    "CreateApiKey.expire_time": ends_the_key,
    "ListApiKeys.page_size": bounds_the_page,
    "ListApiKeys.page_token": continues_the_list,
    "RevokeApiKey.api_key_id": chooses_what_is_revoked,
}
