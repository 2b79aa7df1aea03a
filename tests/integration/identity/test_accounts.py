"""Administrators make accounts and keys by the rules, and what they disable is disabled altogether."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from chatter_grpc.core import accounts, api_key_service
from chatter_grpc.core.accounts import AccountUnknown
from chatter_grpc.core.callers import Scope
from chatter_grpc.core.conversations import Conversation, ConversationStatus, Memory, ModelSettings
from chatter_grpc.core.errors import ApiKeysExhausted, EmailTaken, FieldInvalid, StorageUnavailable, UsernameTaken
from chatter_grpc.core.ids import CONVERSATION, MESSAGE, RUN, new_id
from chatter_grpc.core.messages import Message, TextPart, sha256_of
from chatter_grpc.core.models import Role
from chatter_grpc.core.runs.events import Batch, Entry, RunStarted
from chatter_grpc.core.runs.run import Run, RunInput, RunState, WorkflowKind
from chatter_grpc.core.usage import Usage
from chatter_grpc.core.users import UserRole, UserState
from tests.support.identity import PASSWORD, Replica


async def start_run(replica: Replica, owner_id: str, actor_id: str) -> Run:
    """Store an active run of an owner, in a conversation of its own."""
    now = replica.clock.now
    conversation = Conversation(
        id=new_id(CONVERSATION),
        owner_id=owner_id,
        title="",
        description="",
        status=ConversationStatus.ACTIVE,
        settings=ModelSettings(),
        memory=Memory(),
        tags=(),
        metadata={},
        created_at=now,
        updated_at=now,
    )
    run_id, message_id = new_id(RUN), new_id(MESSAGE)
    message = Message(
        id=message_id,
        owner_id=owner_id,
        conversation_id=conversation.id,
        run_id=run_id,
        role=Role.USER,
        parts=(TextPart(text="hello"),),
        text_sha256=sha256_of("hello"),
        created_at=now,
    )
    run = Run(
        id=run_id,
        owner_id=owner_id,
        actor_id=actor_id,
        conversation_id=conversation.id,
        kind=WorkflowKind.PLAIN,
        workflow_id=None,
        state=RunState.RUNNING,
        created_at=now,
    )
    run_input = RunInput(user_message_id=message_id, before_index=1, settings=ModelSettings(model="m"), memory=Memory())
    first = Batch(run_id, 1, (Entry(1, 1, "", 0, RunStarted(run_id, conversation.id, message_id)),))
    async with replica.storage.write() as tx:
        await tx.conversations.add(conversation)
        await tx.conversations.lock(owner_id, conversation.id)
        await tx.messages.append(conversation.id, (message,), Usage())
        await tx.runs.add(run, run_input, first, process_id="elsewhere", lease_seconds=30)
    return run


async def cancel_time(replica: Replica, run: Run) -> datetime | None:
    async with replica.storage.read() as tx:
        return (await tx.runs.get(run.owner_id, run.id)).cancel_requested_at


async def test_an_administrator_is_made_and_logs_in(replica: Replica) -> None:
    user = await replica.accounts.create_admin(username="root", email="root@example.org", password=PASSWORD)
    assert (user.role, user.state) == (UserRole.ADMIN, UserState.ACTIVE)
    caller = await replica.authenticator.authenticate((await replica.log_in("root")).access_token, "")
    assert caller.actor_id == user.id


async def test_the_rules_of_registration_hold_for_administrators_too(replica: Replica) -> None:
    with pytest.raises(FieldInvalid) as refused:
        await replica.accounts.create_admin(username="x", email="root", password="1234567")
    assert [violation.field for violation in refused.value.violations] == ["username", "email", "password"]
    await replica.sign_up("ada")
    with pytest.raises(UsernameTaken):
        await replica.accounts.create_admin(username="Ada", email="a@example.org", password=PASSWORD)
    with pytest.raises(EmailTaken):
        await replica.accounts.create_admin(username="eve", email="ada@example.org", password=PASSWORD)


async def test_many_services_have_no_email_and_no_password(replica: Replica) -> None:
    for username in ("robot", "other"):
        user = await replica.accounts.create_service(username=username, display_name="Robot")
        assert (user.role, user.email, user.password_hash) == (UserRole.SERVICE, "", None)
    with pytest.raises(UsernameTaken):
        await replica.accounts.create_service(username="ROBOT")


@pytest.mark.parametrize(
    ("name", "scopes", "seconds", "field"),
    [
        ("", ["chat:read"], None, "name"),
        ("x" * 101, ["chat:read"], None, "name"),
        ("two\nlines", ["chat:read"], None, "name"),
        ("k", [], None, "scopes"),
        ("k", ["chat:read", "everything"], None, "scopes"),
        ("k", ["act_as"], None, "scopes"),
        ("k", ["chat:read"], 0, "expire_time"),
        ("k", ["chat:read"], -1, "expire_time"),
        ("k", ["users:read"], None, "scopes"),
        ("k", ["chat:read", "users:write"], None, "scopes"),
    ],
)
async def test_a_key_that_breaks_a_rule_is_not_given_out(
    replica: Replica, name: str, scopes: list[str], seconds: float | None, field: str
) -> None:
    await replica.sign_up()
    expires_at = None if seconds is None else replica.clock.now + timedelta(seconds=seconds)
    with pytest.raises(FieldInvalid) as refused:
        await replica.accounts.create_api_key(login="ada", name=name, scopes=scopes, expires_at=expires_at)
    assert [violation.field for violation in refused.value.violations] == [field]
    assert await replica.accounts.list_api_keys("ada") == ()


async def test_an_account_has_only_so_many_valid_keys(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_key_service, "MAX_KEYS", 1)
    await replica.sign_up()
    given: dict[str, Any] = {"login": "ada", "name": "k", "scopes": [Scope.CHAT_READ]}
    first = await replica.accounts.create_api_key(**given, expires_at=None)
    with pytest.raises(ApiKeysExhausted):
        await replica.accounts.create_api_key(**given, expires_at=None)
    assert len(await replica.accounts.list_api_keys("ada")) == 1
    await replica.accounts.revoke_api_key(first.key.prefix)
    expiring = await replica.accounts.create_api_key(**given, expires_at=replica.clock.now + timedelta(hours=1))
    replica.clock.advance(3600)
    last = await replica.accounts.create_api_key(**given, expires_at=None)
    listed = await replica.accounts.list_api_keys("ada")
    assert [key.id for key in listed] == [first.key.id, expiring.key.id, last.key.id]


async def test_a_list_of_keys_is_whole_however_long(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "MAX_SIZE", 2)
    await replica.sign_up()
    made = [
        await replica.accounts.create_api_key(login="ada", name="k", scopes=["chat:read"], expires_at=None)
        for _ in range(5)
    ]
    assert await replica.accounts.list_api_keys("ada") == tuple(issued.key for issued in made)


async def test_the_scopes_of_administration_are_for_the_keys_of_administrators(replica: Replica) -> None:
    await replica.accounts.create_admin(username="root", email="r@r", password=PASSWORD)
    given: dict[str, Any] = {"login": "root", "name": "k", "expires_at": None}
    issued = await replica.accounts.create_api_key(**given, scopes=["users:read"])
    caller = await replica.authenticator.authenticate(issued.text)
    assert caller.scopes == {"users:read"}
    with pytest.raises(FieldInvalid):
        await replica.accounts.create_api_key(**given, scopes=["act_as"])


async def test_keys_are_listed_in_order_with_what_became_of_them(replica: Replica) -> None:
    await replica.sign_up()
    issued = []
    for name in ("first", "second"):
        replica.clock.advance(1)
        issued.append(
            await replica.accounts.create_api_key(login="ada", name=name, scopes=[Scope.CHAT_READ], expires_at=None)
        )
    revoked = await replica.accounts.revoke_api_key(issued[0].key.prefix)
    assert revoked.revoked_at == replica.clock.now
    replica.clock.advance(1)
    assert await replica.accounts.revoke_api_key(issued[0].key.prefix) == revoked
    assert await replica.accounts.list_api_keys("ada") == (revoked, issued[1].key)


async def test_an_account_that_is_not_there_is_told(replica: Replica) -> None:
    with pytest.raises(AccountUnknown):
        await replica.accounts.create_api_key(login="nobody", name="k", scopes=["chat:read"], expires_at=None)
    for work in (replica.accounts.list_api_keys, replica.accounts.disable_user, replica.accounts.enable_user):
        with pytest.raises(AccountUnknown):
            await work("nobody")


@pytest.mark.platform("T3")
async def test_disabling_an_account_cancels_the_runs_of_all_of_its_owners(replica: Replica) -> None:
    """T3: those that it started for its subjects too, and nobody else's."""
    service = await replica.accounts.create_service(username="robot")
    issued = await replica.accounts.create_api_key(login="robot", name="k", scopes=[Scope.ACT_AS], expires_at=None)
    ann = await replica.authenticator.authenticate(issued.text, "ann")
    other = await replica.sign_up("ada")
    own = await start_run(replica, service.id, service.id)
    for_ann = await start_run(replica, ann.owner_id, service.id)
    foreign = await start_run(replica, other.id, other.id)
    disabled = await replica.accounts.disable_user("robot")
    assert disabled.state is UserState.DISABLED
    assert await cancel_time(replica, own) == replica.clock.now
    assert await cancel_time(replica, for_ann) == replica.clock.now
    assert await cancel_time(replica, foreign) is None


async def test_more_subjects_than_are_dealt_with_at_once_are_all_cancelled(replica: Replica) -> None:
    service = await replica.accounts.create_service(username="robot")
    async with replica.storage.write() as tx:
        for number in range(60):
            await tx.users.subject_owner(service.id, f"s{number:02}", f"subj_{number:02}", replica.clock.now)
    runs = [await start_run(replica, f"subj_{number:02}", service.id) for number in (0, 49, 50, 59)]
    await replica.accounts.disable_user("robot")
    assert [await cancel_time(replica, run) for run in runs] == [replica.clock.now] * 4


async def test_disabling_is_all_or_nothing(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    user = await replica.sign_up()
    token = (await replica.log_in()).access_token
    run = await start_run(replica, user.id, user.id)

    async def fail(*_: object) -> None:
        raise StorageUnavailable

    async with replica.storage.read() as tx:
        store = type(tx.revocations)
    monkeypatch.setattr(store, "add", fail)
    with pytest.raises(StorageUnavailable):
        await replica.accounts.disable_user("ada")
    async with replica.storage.read() as tx:
        stored = await tx.users.get(user.id)
    assert stored is not None
    assert stored.state is UserState.ACTIVE
    assert await cancel_time(replica, run) is None
    await replica.authenticator.authenticate(token, "")
    await replica.log_in()
