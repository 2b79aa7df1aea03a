"""Lists come page by page, whole and without repetition, and a longer page costs no more statements."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass
from sqlalchemy import event
from sqlalchemy.engine import Engine

from chatter_grpc.rpc.contract import SERVICES, methods_of
from tests.support.edge import ANSWER, CHAT, Account, Edge

LISTS = [name for name, method in methods_of(SERVICES) if "page_token" in method.input_type.fields_by_name]
METHODS = dict(methods_of(SERVICES))
ITEMS = 7
# What a search looks for, and how many of seven of everything it finds.
QUERIES = {f"{CHAT}/SearchConversations": "title", f"{CHAT}/SearchMessages": "hello"}
COUNTS = {
    f"{CHAT}/ListMessages": 2 * ITEMS,
    f"{CHAT}/SearchMessages": 2 * ITEMS,
    f"{CHAT}/SearchConversations": ITEMS - 1,
}


@pytest.fixture
async def account(root: Account) -> Account:
    """One who may read every list."""
    return root


@pytest.fixture
async def filled(edge: Edge, account: Account, conversation_id: str) -> dict[str, str]:
    """Seven keys, accounts, and conversations (with one run and two messages each; six more in the first)."""
    for number in range(ITEMS):
        await edge.replica.accounts.create_api_key(login="root", name="k", scopes=["chat:read"], expires_at=None)
        if number:
            await edge.replica.accounts.create_service(username=f"robot-{number}")
    for number in range(ITEMS - 1):
        await edge.new_conversation(account.metadata, title=f"Title {number % 3}")
        await edge.send(account.metadata, conversation_id, "Hello?", str(number))
    await edge.send(account.metadata, conversation_id, "Hello?", "last")
    return {"conversation_id": conversation_id}


def asked(name: str, filled: dict[str, str], **given: Any) -> Any:
    request: Any = GetMessageClass(METHODS[name].input_type)()
    searched = {"query": QUERIES[name]} if name in QUERIES else {}
    for field, value in {**filled, **searched, **given}.items():
        if field in request.DESCRIPTOR.fields_by_name:
            setattr(request, field, value)
    return request


async def page(edge: Edge, account: Account, name: str, request: Any) -> tuple[list[str], str]:
    """The ids on a page and the token of the next."""
    answer = await edge.call(name, request, account.metadata)
    assert answer.code is grpc.StatusCode.OK, answer.details
    response: Any = GetMessageClass(METHODS[name].output_type).FromString(answer.responses[0])
    (items,) = (field.name for field in response.DESCRIPTOR.fields if field.is_repeated)
    ids = [item.message_id if items == "matches" else item.id for item in getattr(response, items)]
    return ids, response.next_page_token


@pytest.mark.platform("T17")
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("order", [0, 1, 2, 3])
async def test_pages_of_any_size_join_to_the_whole_list(
    edge: Edge, account: Account, filled: dict[str, str], size: int, order: int
) -> None:
    """T17: in every order and direction; no page is larger than asked for."""
    for name in LISTS:
        given = {"order": order, "newest_first": bool(order % 2)}
        whole, end = await page(edge, account, name, asked(name, filled, **given))
        assert (len(whole), len(set(whole)), end) == (len(whole), len(whole), "")
        assert len(whole) == COUNTS.get(name, ITEMS)
        joined: list[str] = []
        request = asked(name, filled, page_size=size, **given)
        while True:
            ids, request.page_token = await page(edge, account, name, request)
            assert 0 < len(ids) <= size
            joined += ids
            if not request.page_token:
                break
        assert joined == whole, name


@pytest.mark.platform("T17")
async def test_a_longer_page_takes_no_more_statements(edge: Edge, account: Account, filled: dict[str, str]) -> None:
    """T17: what a page of 1 takes in statements, a page of all takes too."""
    for name in LISTS:
        counts = set()
        for size in (1, 3, 1000):
            with counted_statements() as statements:
                await page(edge, account, name, asked(name, filled, page_size=size))
            counts.add(len(statements))
        assert len(counts) == 1, name
        assert 1 <= counts.pop() <= 4


@contextmanager
def counted_statements() -> Iterator[list[str]]:
    """The statements of all databases in this process, until the block ends."""
    statements: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def test_a_page_token_holds_for_its_list_its_arguments_and_its_owner(
    edge: Edge, account: Account, filled: dict[str, str]
) -> None:
    name = f"{CHAT}/ListConversations"
    _, token = await page(edge, account, name, asked(name, filled, page_size=2))
    stranger = await edge.sign_in("eve")
    refused = [
        await edge.call(name, asked(name, filled, page_token=token, tag="x"), account.metadata),
        await edge.call(name, asked(name, filled, page_token=token, order=2), account.metadata),
        await edge.call(name, asked(name, filled, page_token=token), stranger.metadata),
        await edge.call(
            f"{CHAT}/ListMessages", asked(f"{CHAT}/ListMessages", filled, page_token=token), account.metadata
        ),
        await edge.call(name, asked(name, filled, page_token=token[:-1]), account.metadata),
    ]
    assert [answer.reason for answer in refused] == ["PAGE_TOKEN_INVALID"] * len(refused)
    ids, _ = await page(edge, account, name, asked(name, filled, page_token=token, page_size=1000))
    assert len(ids) == ITEMS - 2


async def test_a_list_goes_on_after_the_longest_title_there_can_be(edge: Edge, account: Account) -> None:
    for title in ("\x01" * 200, "\x01" * 199 + "💥", "💥" * 200):
        await edge.new_conversation(account.metadata, title=title)
    name = f"{CHAT}/ListConversations"
    request = asked(name, {}, order=3, page_size=1)
    seen = []
    for _ in range(3):
        ids, request.page_token = await page(edge, account, name, request)
        seen += ids
    assert (len(set(seen)), request.page_token) == (3, "")


async def test_a_page_of_long_messages_ends_early_and_the_list_goes_on(
    edge: Edge, account: Account, filled: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{CHAT}/ListMessages"
    whole, _ = await page(edge, account, name, asked(name, filled))
    # As long as two questions and an answer.
    monkeypatch.setattr("chatter_grpc.core.pages.MAX_BYTES", 2 * len("Hello?") + len(ANSWER))
    request = asked(name, filled)
    sizes: list[int] = []
    joined: list[str] = []
    while not joined or request.page_token:
        ids, request.page_token = await page(edge, account, name, request)
        sizes.append(len(ids))
        joined += ids
    assert joined == whole
    assert sizes == [3, 2, 2, 2, 2, 2, 1]
    monkeypatch.setattr("chatter_grpc.core.pages.MAX_BYTES", 1)
    assert len((await page(edge, account, name, asked(name, filled)))[0]) == 1


async def test_a_page_of_long_conversations_ends_early_and_the_list_goes_on(
    edge: Edge, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(12):
        await edge.new_conversation(account.metadata, model_settings={"system_prompt": "é" * 10_000})
    monkeypatch.setattr("chatter_grpc.core.pages.MAX_BYTES", 100_000)
    name = f"{CHAT}/ListConversations"
    request = asked(name, {})
    joined: list[str] = []
    sizes: list[int] = []
    while not joined or request.page_token:
        ids, request.page_token = await page(edge, account, name, request)
        sizes.append(len(ids))
        joined += ids
    assert (sizes, len(set(joined))) == ([5, 5, 2], 12)


@pytest.mark.parametrize(
    ("given", "titles"),
    [
        ({}, {"Apple pie", "Banana", "Cherry 100%"}),
        ({"status": 1}, {"Apple pie", "Banana", "Cherry 100%"}),
        ({"status": 2}, set()),
        ({"tag": "red"}, {"Apple pie", "Cherry 100%"}),
        ({"tag": "re"}, set()),
        ({"text": "PIE"}, {"Apple pie"}),
        ({"text": "yellow"}, {"Banana"}),
        ({"text": "100%"}, {"Cherry 100%"}),
        ({"text": "a_a"}, set()),
        ({"tag": "red", "text": "cherry"}, {"Cherry 100%"}),
    ],
)
async def test_a_filter_keeps_what_it_says(
    edge: Edge, account: Account, given: dict[str, Any], titles: set[str]
) -> None:
    await edge.new_conversation(account.metadata, title="Apple pie", tags=["red", "green"])
    await edge.new_conversation(account.metadata, title="Banana", description="Is Yellow.")
    await edge.new_conversation(account.metadata, title="Cherry 100%", tags=["red"])
    name = f"{CHAT}/ListConversations"
    answer = await edge.call(name, asked(name, given), account.metadata)
    response: Any = GetMessageClass(METHODS[name].output_type).FromString(answer.responses[0])
    assert {conversation.title for conversation in response.conversations} == titles
