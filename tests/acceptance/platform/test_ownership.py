"""What belongs to one owner does not exist for any other, on any RPC (T1, T2)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor

from chatter_grpc._gen.chatter.options.v1 import rules_pb2
from chatter_grpc._gen.chatter.v1 import run_pb2
from chatter_grpc.core.callers import ADMIN_SCOPES, SCOPES_OF, SESSION_SCOPES
from chatter_grpc.core.users import UserRole
from chatter_grpc.rpc.contract import SERVICES
from chatter_grpc.rpc.policy import read_policies
from tests.support.openai_plans import Plan
from tests.support.provider import Gate, Provider, eventually
from tests.support.request_fields import FieldPath, fields_of
from tests.support.served import METHODS, Account, Client, Served, message, request_of, signed_in, written

pytestmark = pytest.mark.platform("T1", "T2")

POLICIES: Final = read_policies(SERVICES)

# What an id field names, by the field's own name, or by its message's where it is called id.
KINDS: Final = {
    "conversation_id": "conversation",
    "Conversation.id": "conversation",
    "message_id": "message",
    "run_id": "run",
    "workflow_id": "workflow",
    "api_key_id": "api_key",
    "user_id": "user",
    "User.id": "user",
}
# Ids of the caller's own making.
OWN_MAKING: Final = {"request_id"}
# Of these there are none yet, so that nobody finds any.
ABSENT: Final = {"workflow": "wf_019aa000-0000-7000-8000-000000000000"}
# What methods need beside ids.
REST: Final[dict[str, dict[str, Any]]] = {
    "SendMessage": {"parts": message("", "Hello")["parts"]},
    "CreateRun": {"parts": message("", "Hello")["parts"]},
    "UpdateConversation": {"conversation": {"title": "stolen"}, "update_mask": {"paths": ["title"]}},
    "RateMessage": {"rating": 1},
    "UpdateMe": {"user": {"display_name": "stolen"}, "update_mask": {"paths": ["display_name"]}},
    # What an administrator may do, and what leaves the account as it is.
    "UpdateUser": {"update_mask": {"paths": ["limits"]}},
    # A word of every secret.
    "SearchConversations": {"query": "known"},
    "SearchMessages": {"query": "known"},
}
# Whose estates are tried by all the others.
OWNERS: Final = ("ada", "service", "subject")


@dataclass(frozen=True, slots=True, kw_only=True)
class Estate:
    """All that an owner has: a conversation with a run that is over, one with a run at work, an account and its keys.

    A subject has neither account nor keys.
    """

    client: Client
    scopes: frozenset[str]
    secret: str
    ids: dict[str, list[str]]
    cursor: str
    gate: Gate

    def betrayed_by(self, told: bytes) -> list[str]:
        """What of the estate stands in an answer to somebody else."""
        return [
            word
            for words in ([self.secret], *(self.ids[kind] for kind in self.ids.keys() - ABSENT.keys()))
            for word in words
            if word.encode() in told
        ]


async def settle(client: Client, provider: Provider, name: str) -> Estate:
    """Make an estate."""
    secret = f"known-to-{name.replace(' ', '-')}-alone"
    provider.plan(Plan(text=f"{secret} one"))
    finished, active = [await client.conversation(title=f"{secret} {each}") for each in "ab"]
    over = await client.ask(finished.id, secret)
    gate = provider.hold(after=2, text=f"{secret} goes on and on")
    stream = await client.send(active.id, secret).until(written(2))

    async def is_committed() -> bool:
        return bool((await client.run(stream.run_id)).last_seq == stream.events[-1].seq)

    await eventually(is_committed)
    stream.leave()
    messages = [each.id for place in (finished, active) for each in await client.messages(place.id)]
    me = await client.ok("GetMe")
    accounts = [] if me.subject else [me.user.id]
    keys = [
        (await client.ok("CreateApiKey", name=f"{secret} {each}", scopes=["chat:read"])).api_key.id
        for _ in accounts
        for each in "ab"
    ]
    return Estate(
        client=client,
        scopes=frozenset(me.scopes),
        secret=secret,
        ids={
            "conversation": [finished.id, active.id],
            "message": messages,
            "run": [over.run_id, stream.run_id],
            "api_key": keys,
            "user": accounts,
            **{kind: [one] for kind, one in ABSENT.items()},
        },
        cursor=over.frames[0].cursor,
        gate=gate,
    )


async def settle_all(server: Served, anyone: Client, provider: Provider) -> dict[str, Estate]:
    """Make an estate for every kind of owner, those included who are close to one another."""
    ada, bob = await signed_in(anyone, "ada"), await signed_in(anyone, "bob")
    service_name, root_name = f"service-of-{bob.user.username}", f"root-of-{bob.user.username}"
    async with server.accounts() as accounts:
        await accounts.create_service(username=service_name)
        await accounts.create_admin(
            username=root_name, email=f"{root_name}@example.org", password=bob.password, display_name=""
        )
    root = (await anyone.ok("Login", login=root_name, password=bob.password)).tokens
    service = anyone.trusting(await server.api_key(service_name, *SCOPES_OF[UserRole.SERVICE]))
    clients = {
        "ada": ada.client,
        "bob": bob.client,
        "admin": anyone.trusting(root.access_token),
        "service": service,
        "subject": service.carrying(("x-chatter-subject", "customer-1")),
        "other subject": service.carrying(("x-chatter-subject", "customer-2")),
        # Called as an account is, and still somebody else.
        "namesake": service.carrying(("x-chatter-subject", ada.user.id)),
    }
    return {name: await settle(client, provider, name) for name, client in clients.items()}


def ids_of(name: str) -> list[tuple[FieldPath, FieldDescriptor, str]]:
    """The id fields of a method's request, with what each names; fails on one that nothing is known about."""
    found = []
    for path, field in fields_of(METHODS[name][1].input_type):
        if (field.name == "id" or field.name.endswith(("_id", "_ids"))) and field.name not in OWN_MAKING:
            owner = field.containing_type
            known_as = f"{owner.name}.id" if owner is not None and field.name == "id" else field.name
            assert known_as in KINDS, f"{name}: say in KINDS what {'.'.join(path)} names, so that it can be filled in"
            assert not field.is_repeated, f"{name}: fill in more than one id for {'.'.join(path)}"
            found.append((path, field, KINDS[known_as]))
    return found


def is_filter(name: str, field: FieldDescriptor) -> bool:
    """Whether an id narrows a list down, instead of naming what is asked for."""
    return name.startswith(("List", "Search")) and not field.GetOptions().Extensions[rules_pb2.rules].required


def requests_for(name: str, foreign: Estate, own: Estate) -> Iterator[tuple[FieldDescriptor, str, Any]]:
    """Every request of a method with an id of one estate in one field and ids of another in the others."""
    fields = ids_of(name)
    for chosen, field, kind in fields:
        for foreign_id in foreign.ids[kind]:
            given = dict(REST.get(name, {}))
            if "request_id" in METHODS[name][1].input_type.fields_by_name:
                given["request_id"] = message("", "")["request_id"]
            request = request_of(name, **given)
            for path, other, other_kind in fields:
                if other is field or other.containing_oneof is None:
                    put(request, path, foreign_id if path == chosen else own.ids[other_kind][0])
            yield field, kind, request


def put(request: Any, path: FieldPath, value: str) -> None:
    """Set a field of a message within a message."""
    for step in path[:-1]:
        request = getattr(request, step)
    setattr(request, path[-1], value)


async def state_of(estate: Estate) -> list[Any]:
    """Everything that the owner can read of an estate."""
    client, ids = estate.client, estate.ids
    state = [await client.ok(name) for name in ("GetMe", "ListApiKeys", "ListConversations", "ListRuns")]
    state += [await client.ok("GetConversation", conversation_id=each) for each in ids["conversation"]]
    state += [await client.ok("ListMessages", conversation_id=each) for each in ids["conversation"]]
    state += [await client.ok("GetMessage", message_id=each) for each in ids["message"]]
    state += [await client.ok("GetRun", run_id=each) for each in ids["run"]]
    assert state[-1].run.state == run_pb2.RUN_STATE_RUNNING
    assert {key.id for key in state[1].api_keys} >= set(ids["api_key"])
    return state


async def find_nothing(client: Client, foreign: Estate, own: Estate) -> int:
    """Call every method with every id of an estate as somebody else; return how many calls that were."""
    calls = 0
    for name in METHODS:
        for field, kind, request in requests_for(name, foreign, own):
            answer = await client.call(name, request)
            calls += 1
            if scope_of(name) in ADMIN_SCOPES:
                expected_reason = "" if scope_of(name) in own.scopes else "SCOPE_MISSING"
                assert answer.reason == expected_reason, name
                assert foreign.secret not in f"{answer.responses}{answer.message}"
            elif is_filter(name, field):
                assert (answer.code, answer.responses) == (grpc.StatusCode.OK, [b""]), (name, field.name)
            else:
                expected = (grpc.StatusCode.NOT_FOUND, f"{kind.upper()}_NOT_FOUND")
                assert (answer.code, answer.reason) == expected, (name, field.name)
                assert foreign.secret not in f"{answer.responses}{answer.message}{answer.details}"
    for name, (_, method) in METHODS.items():
        if "page_token" in method.input_type.fields_by_name and all(is_filter(name, each[1]) for each in ids_of(name)):
            seen = await client.call(name, page_size=1000, **REST.get(name, {}))
            told = b"".join(seen.responses)
            if scope_of(name) in ADMIN_SCOPES - own.scopes:
                assert seen.reason == "SCOPE_MISSING", name
                continue
            assert seen.code is grpc.StatusCode.OK
            # Administrators see that there is an account, and nothing that is its own.
            seen_of_all = set(foreign.ids["user"]) if scope_of(name) in ADMIN_SCOPES else set()
            assert set(foreign.betrayed_by(told)) <= seen_of_all, name
            assert own.betrayed_by(told) or (name == "ListApiKeys" and not own.ids["api_key"]), name
    return calls


def scope_of(name: str) -> str:
    """The scope that a method asks for."""
    return POLICIES[METHODS[name][0]].scope


def ends_things(name: str) -> int:
    """How much of an estate a method ends."""
    if name.startswith("Delete"):
        return 3 if name == "DeleteConversation" else 2
    return int(name.startswith(("Send", "Cancel", "CreateRun", "Regenerate")))


async def find_everything(owner: Estate) -> int:
    """Make the same calls as the owner, so that it is seen that the ids are good; return how many calls that were."""
    calls = 0
    # What ends things comes last.
    for name in sorted(METHODS, key=ends_things):
        for _, kind, request in requests_for(name, owner, owner):
            answer = await owner.client.call(name, request)
            calls += 1
            if scope_of(name) in ADMIN_SCOPES:
                assert answer.reason == "SCOPE_MISSING"
            elif kind in ABSENT:
                assert answer.reason == f"{kind.upper()}_NOT_FOUND"
            else:
                assert answer.code is not grpc.StatusCode.NOT_FOUND, (name, kind, answer.message)
    return calls


async def test_what_belongs_to_another_is_not_found_on_any_rpc(
    server: Served, anyone: Client, provider: Provider
) -> None:
    """T1, T2: every RPC of the descriptors, every kind of credentials, every id; nothing is found, nothing changes."""
    estates = await settle_all(server, anyone, provider)
    username = (await estates["bob"].client.ok("GetMe")).user.username
    bobs_key = await server.api_key(username, *SESSION_SCOPES)
    credentials = {name: (estate.client, estate) for name, estate in estates.items()}
    credentials["key of bob"] = (anyone.trusting(bobs_key), estates["bob"])
    tried: dict[str, set[int]] = {}
    for owner in OWNERS:
        before = await state_of(estates[owner])
        for stranger, (client, own) in credentials.items():
            if stranger != owner:
                tried.setdefault(owner, set()).add(await find_nothing(client, estates[owner], own))
        assert await state_of(estates[owner]) == before, owner
    for estate in estates.values():
        estate.gate.open()
    for owner in OWNERS:
        tried[owner].add(await find_everything(estates[owner]))
    # As many calls by everybody, and as many on the account and the keys of those that have some.
    assert [len(calls) for calls in tried.values()] == [1, 1, 1]
    assert tried["ada"] == tried["service"]
    assert min(tried["ada"]) > min(tried["subject"]) > 20


async def test_page_tokens_of_another_are_refused(anyone: Client, provider: Provider) -> None:
    """T1: on every list, with the arguments that the token was made for."""
    ada, bob = [
        await settle(account.client, provider, name)
        for name in ("ada", "bob")
        for account in [await signed_in(anyone, name)]
    ]
    lists = [
        name
        for name, (_, method) in METHODS.items()
        if "page_token" in method.input_type.fields_by_name and scope_of(name) not in ADMIN_SCOPES
    ]
    for name in lists:
        needed = {field.name for _, field, _ in ids_of(name) if not is_filter(name, field)}
        rest = REST.get(name, {})
        given = {**rest, **{each: ada.ids[KINDS[each]][0] for each in needed}}
        token = (await ada.client.ok(name, page_size=1, **given)).next_page_token
        assert token, name
        assert await ada.client.reason(name, page_size=1, page_token=token, **given) == ""
        assert await bob.client.reason(name, page_size=1, page_token=token, **given) == "PAGE_TOKEN_INVALID", name
        own = {**rest, **{each: bob.ids[KINDS[each]][0] for each in needed}}
        assert await bob.client.reason(name, page_size=1, page_token=token, **own) == "PAGE_TOKEN_INVALID", name
    assert len(lists) >= 3
    ada.gate.open()
    bob.gate.open()


async def test_cursors_of_another_are_refused(anyone: Client, provider: Provider) -> None:
    """T1: whether with the run that they were made for or with a run of one's own."""
    ada, bob = [
        await settle(account.client, provider, name)
        for name in ("ada", "bob")
        for account in [await signed_in(anyone, name)]
    ]
    for name in ("WatchRun", "ListRunEvents"):
        assert await ada.client.reason(name, run_id=ada.ids["run"][0], cursor=ada.cursor) == ""
        for run_id in (ada.ids["run"][0], bob.ids["run"][0]):
            assert await bob.client.reason(name, run_id=run_id, cursor=ada.cursor) == "CURSOR_INVALID"
    ada.gate.open()
    bob.gate.open()


async def test_a_request_id_of_another_leads_to_nothing_of_theirs(anyone: Client, ada: Account) -> None:
    """T1: what one owner named is free for every other."""
    bob = await signed_in(anyone, "bob")
    asked = {"request_id": "the-same-for-both"}
    made = [(await account.client.ok("CreateConversation", **asked)).conversation.id for account in (ada, bob)]
    assert made[0] != made[1]
    streams = [
        await account.client.ask(conversation_id, "Hello", **asked)
        for account, conversation_id in zip((ada, bob), made, strict=True)
    ]
    assert streams[0].run_id != streams[1].run_id
    assert await bob.client.reason("SendMessage", **message(made[0], "Hello", **asked)) == "CONVERSATION_NOT_FOUND"
