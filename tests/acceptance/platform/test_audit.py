"""Whatever changes accounts or credentials, or takes something away, leaves a row of who did it; nothing else does."""

from dataclasses import dataclass
from typing import Any, Final

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass

from chatter_grpc.core.audit import AuditEntry
from chatter_grpc.core.pages import PageRequest
from chatter_grpc.core.storage import Storage
from chatter_grpc.rpc.contract import SERVICES
from chatter_grpc.rpc.policy import read_policies
from tests.support.served import METHODS, Account, Client, sign_in_administrator, signed_in

AUDITED: Final = {name.rpartition("/")[2] for name, policy in read_policies(SERVICES).items() if policy.audit}
NEW_PASSWORD: Final = "another horse altogether"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A call that went well, and what its row has to tell of it."""

    client: Client
    fields: dict[str, Any]
    actor: Account | None
    resource: tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """Calls made under an id, and the rows that they left."""

    storage: Storage
    root: Account
    anyone: Client

    async def call(self, name: str, client: Client, /, **fields: Any) -> Any:
        """Call a method under its own name as the id of the call."""
        return await client.carrying(("x-call-id", f"call-of-{name}")).call(name, **fields)

    async def rows(self, name: str = "", user_id: str = "") -> list[AuditEntry]:
        """The rows of the calls of a method, the newest first."""
        async with self.storage.read() as tx:
            entries = (await tx.audit.list(user_id, PageRequest(size=1000))).items
        return [entry for entry in entries if not name or entry.call_id == f"call-of-{name}"]


@pytest.fixture
async def log(in_loop: Client, storage: Storage) -> Log:
    return Log(storage=storage, root=await sign_in_administrator(in_loop, storage), anyone=in_loop)


async def what_is_done(log: Log) -> dict[str, Done]:
    """One call of every audited method that changes something; ``*`` stands for an id that the answer tells."""
    root, anyone = log.root, log.anyone
    ada = await signed_in(anyone, "ada")
    login, refresh, logout, leaving, changing = [await signed_in(anyone, name) for name in "abcde"]
    conversation, gone = [(await ada.client.conversation()).id for _ in range(2)]
    await ada.client.ask(conversation, "Hello")
    (first, *_) = await ada.client.messages(conversation)
    await ada.client.ok("DeleteConversation", conversation_id=gone)
    key = (await ada.client.ok("CreateApiKey", name="k", scopes=["chat:read"])).api_key.id
    new = {"username": "newcomer", "email": "new@example.org", "password": NEW_PASSWORD}
    passwords = {"current_password": changing.password, "new_password": NEW_PASSWORD}
    me = {"user": {"display_name": "Ada"}, "update_mask": {"paths": ["display_name"]}}
    off = {"user": {"id": ada.user.id, "state": 2}, "update_mask": {"paths": ["state"]}}

    def by(account: Account, kind: str, resource_id: str, **fields: Any) -> Done:
        return Done(client=account.client, fields=fields, actor=account, resource=(kind, resource_id))

    named = {"login": login.user.username, "password": login.password}
    return {
        "Register": Done(client=anyone, fields=new, actor=None, resource=("user", "*")),
        "Login": Done(client=anyone, fields=named, actor=login, resource=("session", "*")),
        "Refresh": Done(
            client=anyone,
            fields={"refresh_token": refresh.tokens.refresh_token},
            actor=refresh,
            resource=("session", "*"),
        ),
        "Logout": by(logout, "session", "*"),
        "LogoutEverywhere": by(leaving, "user", leaving.user.id),
        "ChangePassword": by(changing, "user", changing.user.id, **passwords),
        "CreateApiKey": by(ada, "api_key", "*", name="k", scopes=["chat:read"]),
        "RevokeApiKey": by(ada, "api_key", key, api_key_id=key),
        "UpdateMe": by(ada, "user", ada.user.id, **me),
        "DeleteMessage": by(ada, "message", first.id, message_id=first.id),
        "DeleteConversation": by(ada, "conversation", conversation, conversation_id=conversation),
        "UndeleteConversation": by(ada, "conversation", gone, conversation_id=gone),
        "UpdateUser": by(root, "user", ada.user.id, **off),
    }


async def test_every_audited_method_leaves_a_row_with_its_change(log: Log) -> None:
    """A new method whose policy says that it is audited has to be called here, and to leave its row."""
    done = await what_is_done(log)
    assert done.keys() == AUDITED
    for name, each in done.items():
        answer = await log.call(name, each.client, **each.fields)
        assert answer.code is grpc.StatusCode.OK, (name, answer.reason, answer.message)
        (row,) = await log.rows(name)
        assert (row.method, row.outcome) == (METHODS[name][0], "OK"), name
        kind, resource_id = each.resource
        assert row.resource_kind == kind, name
        assert row.resource_id == (row.resource_id if resource_id == "*" else resource_id) != "", name
        actor_id = row.resource_id if each.actor is None else each.actor.user.id
        assert (row.actor_id, row.owner_id) == (actor_id, actor_id), name
        response: Any = GetMessageClass(METHODS[name][1].output_type).FromString(answer.responses[0])
        if name in {"Register", "CreateApiKey"}:
            assert row.resource_id == (response.user if name == "Register" else response.api_key).id


async def test_what_is_not_audited_leaves_no_row(log: Log) -> None:
    before = await log.rows()
    ada = log.root.client
    conversation = await ada.conversation()
    await ada.ask(conversation.id, "Hello")
    await ada.ok("UpdateConversation", conversation={"id": conversation.id}, update_mask={"paths": ["title"]})
    for name in ("GetMe", "ListUsers", "ListApiKeys"):
        await ada.ok(name)
    assert await log.rows() == before


async def test_a_call_that_changes_nothing_leaves_no_row(log: Log) -> None:
    root = log.root
    given = {"user": {"id": root.user.id}, "update_mask": {"paths": ["limits"]}}
    assert (await log.call("UpdateUser", root.client, **given)).code is grpc.StatusCode.OK
    assert (await log.call("DeleteConversation", root.client, conversation_id="conv_none")).reason
    assert [await log.rows(name) for name in ("UpdateUser", "DeleteConversation")] == [[], []]


async def test_what_was_refused_is_written_with_its_reason(log: Log) -> None:
    """Passwords that are wrong, tokens that come back, accounts that are disabled; never what was typed."""
    ada, off = await signed_in(log.anyone, "ada"), await signed_in(log.anyone, "off")
    await log.root.client.ok("UpdateUser", user={"id": off.user.id, "state": 2}, update_mask={"paths": ["state"]})
    first = ada.tokens.refresh_token
    second = (await log.anyone.ok("Refresh", refresh_token=first)).tokens.refresh_token
    await log.anyone.ok("Refresh", refresh_token=second)
    known, unknown = {"login": ada.user.username}, {"login": "planted-name"}
    attempts: list[tuple[str, Client, dict[str, Any], tuple[str, str, str]]] = [
        ("Login", log.anyone, {**known, "password": "planted-word"}, ("", ada.user.id, "LOGIN_FAILED")),
        ("Login", log.anyone, {**unknown, "password": "planted-word"}, ("", "", "LOGIN_FAILED")),
        (
            "Login",
            log.anyone,
            {"login": off.user.username, "password": off.password},
            (off.user.id, off.user.id, "ACCOUNT_DISABLED"),
        ),
        (
            "ChangePassword",
            ada.client,
            {"current_password": "planted-word", "new_password": "planted-word-2"},
            (ada.user.id, ada.user.id, "PASSWORD_WRONG"),
        ),
        ("Refresh", log.anyone, {"refresh_token": first}, (ada.user.id, "", "REFRESH_TOKEN_REUSED")),
    ]
    for name, client, fields, (actor_id, resource_id, reason) in attempts:
        assert (await log.call(name, client, **fields)).reason == reason
        row = (await log.rows(name))[0]
        assert (row.actor_id, row.outcome) == (actor_id, reason)
        assert row.resource_id == (row.resource_id if name == "Refresh" else resource_id)
    assert "planted" not in str(await log.rows())


async def test_what_an_account_did_and_what_was_done_to_it_is_found_by_it(log: Log) -> None:
    ada = await signed_in(log.anyone, "ada")
    await log.root.client.ok(
        "UpdateUser",
        user={"id": ada.user.id, "limits": {"messages_per_day": 1}},
        update_mask={"paths": ["limits"]},
    )
    methods = [row.method.rpartition("/")[2] for row in await log.rows(user_id=ada.user.id)]
    assert methods == ["UpdateUser", "Login", "Register"]


async def test_a_change_that_is_rolled_back_leaves_no_row(log: Log) -> None:
    ada, eve = await signed_in(log.anyone, "ada"), await signed_in(log.anyone, "eve")
    given = {"user": {"email": eve.user.email}, "update_mask": {"paths": ["email"]}}
    assert (await log.call("UpdateMe", ada.client, **given)).reason == "EMAIL_TAKEN"
    assert await log.rows("UpdateMe") == []
