"""A caller gives keys no more than it has, and takes back its own alone."""

import asyncio
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

import pytest

from chatter_grpc.core import api_key_service
from chatter_grpc.core.api_key_service import ApiKeyValues
from chatter_grpc.core.api_keys import IssuedApiKey
from chatter_grpc.core.callers import SESSION_SCOPES, Caller, Scope
from chatter_grpc.core.errors import (
    AccountDisabled,
    ApiKeyInvalid,
    ApiKeyNotFound,
    ApiKeysExhausted,
    FieldInvalid,
    RequestIdReused,
    ScopeRefused,
    SessionRevoked,
    SubjectUnexpected,
)
from chatter_grpc.core.pages import PageRequest
from chatter_grpc.core.requests import RequestKey
from tests.support.identity import PASSWORD, Replica, Site

READ = (Scope.CHAT_READ,)


async def sign_in(replica: Replica, name: str = "ada") -> Caller:
    return await replica.authenticator.authenticate((await replica.log_in(name)).access_token)


async def make(
    replica: Replica,
    caller: Caller,
    scopes: Collection[str] = READ,
    expires_at: datetime | None = None,
    key: RequestKey | None = None,
    name: str = "k",
) -> IssuedApiKey:
    return await replica.api_keys.create(caller, ApiKeyValues(name=name, scopes=scopes, expires_at=expires_at), key)


async def caller_of(replica: Replica, issued: IssuedApiKey, subject: str = "") -> Caller:
    return await replica.authenticator.authenticate(issued.text, subject)


def request_key(caller: Caller, payload: bytes = b"p") -> RequestKey:
    return RequestKey(owner_id=caller.owner_id, method="m", request_id="r", payload_hash=payload)


async def listed(replica: Replica, caller: Caller) -> list[str]:
    return [key.id for key in (await replica.api_keys.list(caller, PageRequest())).items]


@pytest.fixture
async def ada(replica: Replica) -> Caller:
    await replica.sign_up()
    return await sign_in(replica)


@pytest.fixture
async def robot(replica: Replica) -> Caller:
    await replica.accounts.create_service(username="robot")
    issued = await replica.accounts.create_api_key(
        login="robot", name="first", scopes=[*SESSION_SCOPES, Scope.ACT_AS], expires_at=None
    )
    return await caller_of(replica, issued)


async def test_a_new_key_opens_the_account_with_its_scopes(replica: Replica, ada: Caller) -> None:
    issued = await make(replica, ada, ["runs:read", "chat:read"], name="Build server")
    assert (issued.key.name, issued.key.expires_at, issued.key.user_id) == ("Build server", None, ada.actor_id)
    caller = await caller_of(replica, issued)
    assert (caller.actor_id, caller.scopes) == (ada.actor_id, frozenset({"runs:read", "chat:read"}))
    assert await listed(replica, ada) == [issued.key.id]


async def test_a_key_is_good_until_it_expires(replica: Replica, ada: Caller) -> None:
    issued = await make(replica, ada, expires_at=replica.clock.now + timedelta(hours=1))
    await caller_of(replica, issued)
    replica.clock.advance(3600)
    await replica.watch.poll()
    with pytest.raises(ApiKeyInvalid):
        await caller_of(replica, issued)


async def test_a_repeated_request_gets_the_record_without_the_secret(replica: Replica, ada: Caller) -> None:
    first = await make(replica, ada, key=request_key(ada))
    again = await make(replica, ada, key=request_key(ada))
    assert (again.key, again.text) == (first.key, "")
    assert await listed(replica, ada) == [first.key.id]
    with pytest.raises(RequestIdReused):
        await make(replica, ada, key=request_key(ada, b"other"))


@pytest.mark.parametrize("scopes", [["users:read"], ["act_as"], ["chat:read", "users:write"], ["chat:reed"], []])
async def test_a_member_gives_no_scope_that_members_do_not_have(
    replica: Replica, ada: Caller, scopes: list[str]
) -> None:
    with pytest.raises(FieldInvalid):
        await make(replica, ada, scopes)
    assert await listed(replica, ada) == []


@pytest.mark.parametrize("name", ["", "x" * 101, "two\nlines"])
async def test_a_name_that_breaks_its_rule_is_refused(replica: Replica, ada: Caller, name: str) -> None:
    with pytest.raises(FieldInvalid):
        await make(replica, ada, name=name)


async def test_an_administrators_session_gives_keys_for_administration(replica: Replica) -> None:
    await replica.accounts.create_admin(username="root", email="r@r", password=PASSWORD)
    issued = await make(replica, await sign_in(replica, "root"), ["users:read"])
    assert (await caller_of(replica, issued)).scopes == {"users:read"}


async def test_a_key_gives_no_key_more_than_it_holds(replica: Replica, ada: Caller) -> None:
    maker = await caller_of(replica, await make(replica, ada, ["account:write", "chat:read"]))
    assert (await make(replica, maker, ["chat:read"])).key.scopes == {"chat:read"}
    assert (await make(replica, maker, ["account:write", "chat:read"])).text
    with pytest.raises(ScopeRefused) as refused:
        await make(replica, maker, ["chat:read", "chat:write"])
    assert refused.value.metadata == {"scope": "chat:write"}


async def test_a_key_gives_no_key_that_outlives_it(replica: Replica, ada: Caller) -> None:
    end = replica.clock.now + timedelta(hours=1)
    maker = await caller_of(replica, await make(replica, ada, expires_at=end))
    assert (await make(replica, maker, expires_at=end)).key.expires_at == end
    for later in (None, end + timedelta(microseconds=1)):
        with pytest.raises(FieldInvalid):
            await make(replica, maker, expires_at=later)


async def test_a_service_gives_keys_that_act_for_others_where_its_own_does(replica: Replica, robot: Caller) -> None:
    issued = await make(replica, robot, ["act_as", "chat:read"])
    assert (await caller_of(replica, issued, "ann")).subject == "ann"


async def test_a_subject_has_no_keys_and_gets_none(replica: Replica, robot: Caller) -> None:
    issued = await make(replica, robot, ["act_as", "account:read", "account:write"])
    ann = await caller_of(replica, issued, "ann")
    with pytest.raises(SubjectUnexpected):
        await make(replica, ann, ["account:read"])
    assert await listed(replica, ann) == []
    with pytest.raises(ApiKeyNotFound):
        await replica.api_keys.revoke(ann, issued.key.id)


async def test_an_account_has_only_so_many_valid_keys(
    replica: Replica, ada: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_key_service, "MAX_KEYS", 2)
    first, _ = [await make(replica, ada) for _ in range(2)]
    with pytest.raises(ApiKeysExhausted):
        await make(replica, ada)
    await replica.api_keys.revoke(ada, first.key.id)
    await make(replica, ada)


async def test_keys_made_at_once_are_no_more_than_an_account_may_have(
    replica: Replica, ada: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the account and by an operator."""
    monkeypatch.setattr(api_key_service, "MAX_KEYS", 3)

    async def make_by_command() -> IssuedApiKey:
        return await replica.accounts.create_api_key(login="ada", name="k", scopes=READ, expires_at=None)

    outcomes = await asyncio.gather(
        *(work() for _ in range(4) for work in (make_by_command, lambda: make(replica, ada))), return_exceptions=True
    )
    assert sum(isinstance(each, IssuedApiKey) for each in outcomes) == 3
    assert sum(isinstance(each, ApiKeysExhausted) for each in outcomes) == 5
    assert len(await listed(replica, ada)) == 3


@pytest.mark.parametrize("way", ["session", "key", "account"])
async def test_credentials_that_no_longer_hold_make_no_key(replica: Replica, site: Site, ada: Caller, way: str) -> None:
    """Another replica hears of a revocation a moment later; in that moment nothing is made that lasts."""
    elsewhere = await site.start()
    issued = await make(replica, ada, ["account:write", "chat:read"])
    caller = await caller_of(elsewhere, issued) if way == "key" else ada
    errors: dict[str, Any] = {"session": SessionRevoked, "key": ApiKeyInvalid, "account": AccountDisabled}
    if way == "session":
        await replica.auth.logout_everywhere(ada)
    elif way == "key":
        await replica.api_keys.revoke(ada, issued.key.id)
    else:
        await replica.accounts.disable_user("ada")
    with pytest.raises(errors[way]):
        await make(elsewhere, caller)


async def test_a_revoked_key_is_refused_at_once_and_elsewhere_at_the_next_poll(
    replica: Replica, site: Site, ada: Caller
) -> None:
    issued, other = await make(replica, ada), await make(replica, ada)
    elsewhere = await site.start()
    await caller_of(elsewhere, issued)
    ended = list[Exception]()
    elsewhere.watch.subscribe(await caller_of(elsewhere, issued), ended.append)
    revoked = await replica.api_keys.revoke(ada, issued.key.id)
    assert revoked.revoked_at == replica.clock.now
    with pytest.raises(ApiKeyInvalid):
        await caller_of(replica, issued)
    await elsewhere.watch.poll()
    with pytest.raises(ApiKeyInvalid):
        await caller_of(elsewhere, issued)
    assert [type(error) for error in ended] == [ApiKeyInvalid]
    await caller_of(replica, other)


async def test_revoking_again_changes_nothing(replica: Replica, ada: Caller) -> None:
    issued = await make(replica, ada)
    first = await replica.api_keys.revoke(ada, issued.key.id)
    replica.clock.advance(60)
    assert await replica.api_keys.revoke(ada, issued.key.id) == first


async def test_a_key_revokes_itself(replica: Replica, ada: Caller) -> None:
    issued = await make(replica, ada, ["account:write"])
    await replica.api_keys.revoke(await caller_of(replica, issued), issued.key.id)
    with pytest.raises(ApiKeyInvalid):
        await caller_of(replica, issued)


async def test_a_foreign_key_is_not_found(replica: Replica, ada: Caller, robot: Caller) -> None:
    issued = await make(replica, robot, ["chat:read"])
    with pytest.raises(ApiKeyNotFound):
        await replica.api_keys.revoke(ada, issued.key.id)
    await caller_of(replica, issued)
    assert await listed(replica, ada) == []


async def test_no_key_slips_through_the_end_of_its_session(replica: Replica, ada: Caller) -> None:
    """Made and ended at once: either the key was made before the end, or it was not made."""
    made = await asyncio.gather(
        make(replica, ada), replica.auth.logout_everywhere(ada), make(replica, ada), return_exceptions=True
    )
    assert all(isinstance(each, int | IssuedApiKey | SessionRevoked) for each in made)
    with pytest.raises(SessionRevoked):
        await make(replica, ada)
