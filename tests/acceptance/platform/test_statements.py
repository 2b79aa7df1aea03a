"""What each RPC asks the database: a bounded number of statements, each with the owner in it (T2, T17)."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from chatter_grpc.adapters.sql import schema
from chatter_grpc.core.runs.run import RunState
from chatter_grpc.core.storage import Storage
from chatter_grpc.core.usage import Usage
from tests.support.records import (
    LEASE,
    NOW,
    PROCESS,
    a_conversation,
    a_message,
    a_run,
    a_user,
    an_api_key,
    an_input,
    first_batch,
)
from tests.support.served import METHODS, Account, Client, message, sign_in_administrator, signed_in

# So many statements a call of each method takes at most, whatever there is in the database.
BOUNDS: Final = {
    "Register": 5,
    "Login": 6,
    "Refresh": 7,
    "Logout": 3,
    "LogoutEverywhere": 4,
    # The password before is read; then it is set, the account and the session held, the others ended.
    "ChangePassword": 7,
    "CreateApiKey": 6,
    "ListApiKeys": 1,
    "RevokeApiKey": 4,
    "GetMe": 1,
    "UpdateMe": 5,
    "GetUser": 1,
    "ListUsers": 1,
    # Disabling: what may not be done to the last administrator, then all that the account has open.
    "UpdateUser": 11,
    "CreateConversation": 4,
    "GetConversation": 1,
    "ListConversations": 1,
    "UpdateConversation": 6,
    "DeleteConversation": 7,
    "UndeleteConversation": 6,
    "ForkConversation": 11,
    "SearchConversations": 1,
    "ListMessages": 2,
    "GetMessage": 1,
    "DeleteMessage": 8,
    "RateMessage": 2,
    "SearchMessages": 1,
    # The start of a run (11) and its end (5), which the stream waits for, and readings of its log in between.
    "SendMessage": 18,
    "RegenerateMessage": 25,
    "CreateRun": 14,
    "GetRun": 1,
    "ListRuns": 1,
    "WatchRun": 3,
    "ListRunEvents": 2,
    "CancelRun": 1,
    "GetServerInfo": 0,
}
MANY: Final = 1001
# What every list and search is called with beside its page, so that it finds more than the longest page holds.
LISTS: Final[dict[str, dict[str, Any]]] = {
    "ListConversations": {"tag": "work", "text": "a"},
    "ListApiKeys": {},
    "ListMessages": {},
    "ListRuns": {},
    "ListUsers": {"text": "name-user", "role": 1, "state": 1},
    "SearchConversations": {"query": 'größe -absent "of a"'},
    "SearchMessages": {"query": 'x* "x y" -"y x"'},
}

# Tables that callers reach, and those among the ones without an owner that stand for a row that has one.
OWNED: Final = {table.name for table in schema.METADATA.tables.values() if "owner_id" in table.columns}
OF_A_RUN: Final = {"run_log", "run_inputs"}
# Statements on owned rows that do not name the owner, each with where that was made sure of.
BY_ID_ALONE: Final = {
    "UPDATE conversations SET message_count": "the run's own conversation, which its start locked with the owner",
    "UPDATE runs SET state": "the supervisor's own run, fenced by its attempt",
    "UPDATE runs SET cancel_requested_at": "runs that were read with their owner in the same transaction",
}

# What a process asks by itself every now and then, whoever calls: its own runs that are to be cancelled, lost runs.
OF_NO_CALL: Final = (
    "SELECT runs.id FROM runs WHERE runs.process_id =",
    "SELECT runs.id FROM runs WHERE state = 'running' AND runs.lease_expires_at <=",
)


@contextmanager
def statements() -> Iterator[list[str]]:
    """Collect the statements that are sent to any database until the block ends, in one line each."""
    seen: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        line = " ".join(statement.split())
        if not line.startswith(("BEGIN", *OF_NO_CALL)):
            seen.append(line)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def chat_calls(client: Client, conversation_id: str) -> dict[str, dict[str, Any]]:
    """Return what ChatService's methods are called with, and CreateRun, by their names."""
    first, second = (await client.ok("ListMessages", conversation_id=conversation_id, page_size=2)).messages
    doomed = await client.conversation(tags=["a", "b"])
    fork = (await client.ok("ForkConversation", message_id=second.id)).conversation
    copy, *_ = await client.messages(fork.id)
    exchange, waiting = [await client.conversation() for _ in range(2)]
    await client.ask(exchange.id, "Hello")
    _, answer = await client.messages(exchange.id)
    return {
        "CreateConversation": {"request_id": doomed.id[5:], "title": "x", "tags": ["a", "b", "c"]},
        "UpdateConversation": {
            "request_id": doomed.id[5:],
            "conversation": {"id": conversation_id, "title": doomed.id, "tags": ["a", doomed.id[5:]]},
            "update_mask": {"paths": ["title", "tags"]},
        },
        "ListConversations": {"tag": "a", "text": "x", "page_size": 1000},
        "DeleteConversation": {"conversation_id": doomed.id},
        "UndeleteConversation": {"conversation_id": doomed.id},
        "ForkConversation": {"request_id": doomed.id[5:], "message_id": first.id},
        "SearchConversations": {"query": '"x y"* -z'},
        "SearchMessages": {"query": '"hello to"* -z'},
        "DeleteMessage": {"message_id": copy.id},
        "RateMessage": {"message_id": second.id, "rating": 5},
        "SendMessage": message(conversation_id, "Hello"),
        "RegenerateMessage": {"request_id": doomed.id[5:], "message_id": answer.id},
        "CreateRun": message(waiting.id, "Hello"),
    }


async def call_everything(ada: Account, anyone: Client, conversation_id: str) -> dict[str, list[str]]:
    """Call every method once so that it does all that it can, and return the statements of each."""
    client = ada.client
    session = await signed_in(anyone, "again")
    first, _ = (await client.ok("ListMessages", conversation_id=conversation_id, page_size=2)).messages
    leaving, changing, locked_out = [await signed_in(anyone, name) for name in ("leaving", "changing", "locked")]
    await locked_out.client.conversation()
    key = (await client.ok("CreateApiKey", name="k", scopes=["chat:read"])).api_key
    unique = session.user.id[5:]
    calls: dict[str, dict[str, Any]] = {
        **await chat_calls(client, conversation_id),
        "Register": {"username": unique, "email": f"{unique}@b", "password": "long enough"},
        "Login": {"login": ada.user.username, "password": ada.password},
        "Refresh": {"refresh_token": session.tokens.refresh_token},
        "Logout": {},
        "ChangePassword": {"current_password": changing.password, "new_password": f"not {changing.password}"},
        "CreateApiKey": {"request_id": unique, "name": "k", "scopes": ["chat:read"]},
        "RevokeApiKey": {"api_key_id": key.id},
        "UpdateMe": {
            "request_id": unique,
            "user": {"display_name": unique},
            "update_mask": {"paths": ["display_name"]},
        },
        "GetUser": {"user_id": session.user.id},
        "ListUsers": {"text": "a", "role": 1, "state": 1},
        "UpdateUser": {
            "request_id": unique,
            "user": {"id": locked_out.user.id, "state": 2, "limits": {"messages_per_day": 1}},
            "update_mask": {"paths": ["state", "limits"]},
        },
    }
    ids = {"conversation_id": conversation_id, "message_id": first.id, "run_id": first.run_id}
    found = {}
    for name, (_, method) in METHODS.items():
        given = {key: value for key, value in ids.items() if key in method.input_type.fields_by_name}
        caller = {"Logout": session, "LogoutEverywhere": leaving, "ChangePassword": changing}.get(name, ada).client
        with statements() as seen:
            answer = await caller.call(name, **calls.get(name, given))
        assert answer.reason == ("RUN_ALREADY_FINISHED" if name == "CancelRun" else ""), name
        found[name] = list(seen)
    return found


def lists() -> list[str]:
    """The methods of the contract that answer with pages; fails on one that ``LISTS`` does not know."""
    names = [name for name, (_, method) in METHODS.items() if "page_token" in method.input_type.fields_by_name]
    # A log is no list of rows: a page of it is bounded by its size, however many events that are.
    listing = {name for name in METHODS if name.startswith(("List", "Search"))} - {"ListRunEvents"}
    assert set(names) == LISTS.keys() == listing
    return names


async def fill(storage: Storage, owner_id: str, conversation: Any) -> None:
    """Give an owner more of everything than a page holds."""
    like = a_conversation(owner_id, id=conversation.id)
    runs = [a_run(like, conversation_id="", state=RunState.COMPLETED) for _ in range(MANY)]
    texts = tuple(a_message(like, run.id, text="x y") for run in runs)
    async with storage.write() as tx:
        for _ in range(MANY):
            await tx.users.add(a_user())
            await tx.api_keys.add(an_api_key(owner_id, revoked_at=NOW))
        for run in runs:
            await tx.conversations.add(a_conversation(owner_id))
            await tx.runs.add(run, an_input(run), first_batch(run), process_id=PROCESS, lease_seconds=LEASE)
        await tx.messages.append(like.id, texts, Usage())


@pytest.mark.platform("T2", "T17")
async def test_every_rpc_takes_few_statements_and_each_names_the_owner(in_loop: Client, storage: Storage) -> None:
    """T17: a bound for every method. T2: the owner is a condition of every query on what has an owner."""
    ada = await sign_in_administrator(in_loop, storage)
    conversation = await ada.client.conversation()
    await ada.client.ask(conversation.id, "Hello")
    found = await call_everything(ada, in_loop, conversation.id)
    assert found.keys() == BOUNDS.keys()
    assert {name: len(seen) for name, seen in found.items() if len(seen) > BOUNDS[name]} == {}
    touched = set()
    for name, seen in found.items():
        for statement in seen:
            tables = set(re.findall(r"(?:FROM|JOIN|UPDATE|INTO) (\w+)", statement))
            touched |= tables
            by_id_alone = any(statement.startswith(known) for known in BY_ID_ALONE)
            if tables & OWNED and not statement.startswith("INSERT") and not by_id_alone:
                assert re.search(r" WHERE .*\bowner_id (?:=|IN)", statement), f"{name}: {statement}"
    assert touched & OWNED >= {"conversations", "messages", "runs", "conversation_tags", "requests"}
    # What has no owner of its own is an account's, or a part of a run that was found with its owner.
    accounts = {"users", "owners", "sessions", "refresh_tokens", "revocations", "api_keys"}
    assert {table for table in touched if table in schema.METADATA.tables} - OWNED <= accounts | OF_A_RUN


@pytest.mark.platform("T17")
async def test_more_of_everything_takes_no_more_statements(in_loop: Client, storage: Storage) -> None:
    """T17: neither a longer page nor more rows around it."""
    ada = await sign_in_administrator(in_loop, storage)
    conversation = await ada.client.conversation()
    await ada.client.ask(conversation.id, "Hello")
    few = await call_everything(ada, in_loop, conversation.id)
    await fill(storage, ada.user.id, conversation)
    many = await call_everything(ada, in_loop, conversation.id)
    for name in METHODS.keys() - {"SendMessage", "RegenerateMessage", "WatchRun"}:
        assert len(many[name]) == len(few[name]), name
    counts: dict[str, set[int]] = {}
    for name in lists():
        (items,) = (field.name for field in METHODS[name][1].output_type.fields if field.is_repeated)
        for size in (1, 50, 1000):
            given = {"conversation_id": conversation.id} if name == "ListMessages" else LISTS[name]
            with statements() as seen:
                page = await ada.client.ok(name, page_size=size, **given)
            assert (len(getattr(page, items)), bool(page.next_page_token)) == (size, True), name
            counts.setdefault(name, set()).add(len(seen))
    assert {name: len(seen) for name, seen in counts.items()} == dict.fromkeys(LISTS, 1), counts
