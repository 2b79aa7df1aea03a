"""What a store that searches guarantees: the same is found on every database, at once, and by its owner alone."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatter_grpc.core import pages
from chatter_grpc.core.conversations import Conversation, ConversationStatus
from chatter_grpc.core.errors import SearchQueryEmpty
from chatter_grpc.core.messages import Message
from chatter_grpc.core.models import Role
from chatter_grpc.core.pages import PageRequest
from chatter_grpc.core.search import MessageFilter
from chatter_grpc.core.search_query import parse_query
from chatter_grpc.core.search_words import words_of
from chatter_grpc.core.storage import Storage
from chatter_grpc.core.usage import Usage
from tests.support.pages import read_all
from tests.support.records import NOW, a_conversation, a_message, an_answer, start_run, store_conversation, store_user

EVERY = MessageFilter()
# Few words, so that many texts hold what many queries look for; hard ones by case, accents, marks and scripts.
WORDS = st.sampled_from(
    [
        *("a", "A", "ab", "Abc", "ä", "Ä", "ß", "ss", "b", "b_c", "b-c", "1", "\uff11", "İ", "'"),
        *("東", "東京", "京", "ガ", "क्", "कि"),
    ]
)
TEXTS = st.lists(WORDS | st.text(max_size=3), max_size=6).map(" ".join)
PARTS = st.tuples(
    st.sampled_from(["", "", "-"]),
    st.sampled_from(["{}", "{}*", '"{}"', '"{}"*', '"{}']),
    st.lists(WORDS, min_size=1, max_size=3),
).map(lambda part: part[0] + part[1].format(" ".join(part[2])))
QUERIES = st.lists(PARTS | st.text(max_size=5), min_size=1, max_size=3).map(" ".join)
OFTEN = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


async def store_texts(storage: Storage, *texts: str, owner_id: str = "") -> tuple[Conversation, list[Message]]:
    """Store a conversation with a message of each text, questions and answers in turn."""
    conversation = await store_conversation(storage, owner_id)
    run = await start_run(storage, conversation)
    makers = (a_message, an_answer)
    said = [makers[place % 2](conversation, run.id, text=text) for place, text in enumerate(texts)]
    async with storage.write() as tx:
        first = await tx.messages.append(conversation.id, tuple(said), Usage())
    return conversation, [replace(message, index=first + place) for place, message in enumerate(said)]


async def find(
    storage: Storage, owner_id: str, query: str, wanted: MessageFilter = EVERY, size: int = 50
) -> list[Message]:
    parsed = parse_query(query)
    async with storage.read() as tx:
        return await read_all(lambda page: tx.search.messages(owner_id, parsed, wanted, page), size)


async def find_conversations(
    storage: Storage, owner_id: str, query: str, status: ConversationStatus | None = None, size: int = 50
) -> list[Conversation]:
    parsed = parse_query(query)
    async with storage.read() as tx:
        return await read_all(lambda page: tx.search.conversations(owner_id, parsed, status, page), size)


async def test_messages_come_back_as_they_were_stored_the_latest_first(storage: Storage) -> None:
    conversation, said = await store_texts(storage, "the green garden", "a red house", "Green? GARDENS!")
    owner_id = conversation.owner_id
    assert await find(storage, owner_id, "green") == [said[2], said[0]]
    assert await find(storage, owner_id, "green -gardens") == [said[0]]
    assert await find(storage, owner_id, "blue") == []


async def test_phrases_exclusions_and_beginnings_are_found_as_they_are_meant(storage: Storage) -> None:
    conversation, _ = await store_texts(storage, "the red house", "house, red and green", "Redder houses")
    for query, found in (
        ("red", [2, 1]),
        ("red*", [3, 2, 1]),
        ('"red house"', [1]),
        ('"house red"', [2]),
        ('"red hous"', []),
        ('"red hous"*', [1]),
        ('"redder hous"*', [3]),
        ("red -green", [1]),
        ("red -gree*", [1]),
        ('hous* -"red house"', [3, 2]),
        ('red -"house green"', [2, 1]),
    ):
        assert [message.index for message in await find(storage, conversation.owner_id, query)] == found, query
    for title, description in (("red house", "green"), ("red", "house")):
        await store_conversation(storage, conversation.owner_id, title=title, description=description)
    for query, titles in (('"red house"', ["red house"]), ("red house", ["red house", "red"]), ("red -green", ["red"])):
        made = await find_conversations(storage, conversation.owner_id, query)
        assert [each.title for each in made] == titles, query


@OFTEN
@given(texts=st.lists(TEXTS, max_size=4), query=QUERIES)
async def test_what_is_found_is_what_the_query_matches(storage: Storage, texts: Sequence[str], query: str) -> None:
    try:
        parsed = parse_query(query)
    except SearchQueryEmpty:
        return
    conversation, said = await store_texts(storage, *texts)
    matching = [message for message in said if parsed.matches(words_of(message.text))]
    assert await find(storage, conversation.owner_id, query) == matching[::-1]


@OFTEN
@given(named=st.lists(st.tuples(TEXTS, TEXTS), max_size=4), query=QUERIES)
async def test_the_conversations_found_are_those_the_query_matches_by_title_first(
    storage: Storage, named: Sequence[tuple[str, str]], query: str
) -> None:
    try:
        parsed = parse_query(query)
    except SearchQueryEmpty:
        return
    owner = await store_user(storage)
    made = [
        a_conversation(owner.id, title=title, description=description, created_at=NOW + timedelta(seconds=place))
        for place, (title, description) in enumerate(named)
    ]
    async with storage.write() as tx:
        for conversation in made:
            await tx.conversations.add(conversation)

    def in_title(conversation: Conversation) -> bool:
        return all(clause.found_in(words_of(conversation.title)) for clause in parsed.wanted)

    # No word of a query: what stands on both sides of it is not a phrase.
    gap = [" "]
    matching = [each for each in made if parsed.matches([*words_of(each.title), *gap, *words_of(each.description)])]
    expected = sorted(matching, key=lambda each: (in_title(each), each.created_at), reverse=True)
    assert await find_conversations(storage, owner.id, query) == expected


@pytest.mark.platform("T1", "T2")
async def test_nothing_of_another_owner_is_found(storage: Storage) -> None:
    conversation, said = await store_texts(storage, "garden")
    other, theirs = await store_texts(storage, "garden")
    for mine, messages in ((conversation, said), (other, theirs)):
        assert await find(storage, mine.owner_id, "garden") == messages
        assert await find_conversations(storage, mine.owner_id, "gro*") == [
            replace(mine, message_count=1, last_message_at=NOW)
        ]
    assert await find(storage, conversation.owner_id, "garden", MessageFilter(conversation_id=other.id)) == []
    stranger = await store_user(storage)
    assert await find(storage, stranger.id, "gard*") == []
    assert await find_conversations(storage, stranger.id, "gro*") == []


async def test_messages_are_found_by_conversation_and_role(storage: Storage) -> None:
    conversation, said = await store_texts(storage, "garden one", "garden two")
    other, more = await store_texts(storage, "garden three", owner_id=conversation.owner_id)
    owner_id = conversation.owner_id
    assert await find(storage, owner_id, "garden") == [*more, *reversed(said)]
    assert await find(storage, owner_id, "garden", MessageFilter(conversation_id=other.id)) == more
    assert await find(storage, owner_id, "garden", MessageFilter(role=Role.ASSISTANT)) == [said[1]]
    assert await find(storage, owner_id, "garden", MessageFilter(conversation_id=other.id, role=Role.ASSISTANT)) == []


async def test_conversations_are_found_by_status(storage: Storage) -> None:
    active = await store_conversation(storage, title="garden")
    archived = await store_conversation(storage, active.owner_id, title="garden", status=ConversationStatus.ARCHIVED)
    for conversation in (active, archived):
        assert await find_conversations(storage, active.owner_id, "garden", conversation.status) == [conversation]


async def test_a_deleted_message_is_not_found_from_the_next_moment_on(storage: Storage) -> None:
    conversation, said = await store_texts(storage, "garden one", "garden two")
    async with storage.write() as tx:
        await tx.messages.remove(conversation.owner_id, said[1], NOW)
    assert await find(storage, conversation.owner_id, "garden") == [said[0]]
    # The index was changed along, not only what it names: the next row may be given the same number.
    _, more = await store_texts(storage, "house", owner_id=conversation.owner_id)
    assert await find(storage, conversation.owner_id, "garden") == [said[0]]
    assert await find(storage, conversation.owner_id, "house") == more


async def test_an_answer_that_was_replaced_is_neither_found_nor_copied(storage: Storage) -> None:
    conversation, said = await store_texts(storage, "garden?", "garden one", owner_id="")
    owner_id = conversation.owner_id
    again = await start_run(storage, conversation, conversation_id="")
    async with storage.write() as tx:
        await tx.messages.append(conversation.id, (an_answer(conversation, again.id, text="garden two"),), Usage())
        await tx.messages.replace_answers(owner_id, conversation.id, said[0].id, again.id)
    assert [message.text for message in await find(storage, owner_id, "garden")] == ["garden two", "garden?"]
    made = await store_conversation(storage, owner_id)
    async with storage.write() as tx:
        assert (await tx.forks.measure(owner_id, conversation.id, 9)).messages == 2
        await tx.forks.copy(owner_id, conversation.id, 9, made.id)
        page = await tx.messages.list(owner_id, made.id, PageRequest(), newest_first=False, include_replaced=True)
    assert [(message.index, message.text) for message in page.items] == [(1, "garden?"), (3, "garden two")]


async def test_what_a_deleted_conversation_holds_is_not_found_until_it_is_back(storage: Storage) -> None:
    conversation, said = await store_texts(storage, "garden")
    owner_id = conversation.owner_id
    async with storage.write() as tx:
        await tx.conversations.replace(replace(conversation, deleted_at=NOW, purge_at=NOW))
    assert await find(storage, owner_id, "garden") == []
    assert await find_conversations(storage, owner_id, "gro*") == []
    async with storage.write() as tx:
        await tx.conversations.restore(conversation)
    assert await find(storage, owner_id, "garden") == said
    assert [each.id for each in await find_conversations(storage, owner_id, "gro*")] == [conversation.id]


async def test_a_conversation_is_found_by_what_is_said_of_it_now(storage: Storage) -> None:
    conversation = await store_conversation(storage, title="garden", description="green")
    async with storage.write() as tx:
        await tx.conversations.replace(replace(conversation, title="house", description="red"))
    owner_id = conversation.owner_id
    for word, count in (("garden", 0), ("green", 0), ("house", 1), ("red", 1), ("house red", 1)):
        assert len(await find_conversations(storage, owner_id, word)) == count, word


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_pages_of_what_is_found_put_together_are_all_of_it(storage: Storage, size: int) -> None:
    conversation, said = await store_texts(storage, *(f"garden {number}" for number in range(7)))
    owner_id = conversation.owner_id
    assert await find(storage, owner_id, "garden", size=size) == said[::-1]
    for number in range(6):
        await store_conversation(storage, owner_id, title="On other things", description=f"größe {number}")
    whole = await find_conversations(storage, owner_id, "größe")
    assert (len(whole), whole[0].id) == (7, conversation.id)
    assert await find_conversations(storage, owner_id, "größe", size=size) == whole


async def test_a_page_ends_where_what_was_found_gets_long(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["garden é" + "x" * each for each in (10, 10, 500, 10)]
    conversation, said = await store_texts(storage, *texts)
    monkeypatch.setattr(pages, "MAX_BYTES", 60)
    query = parse_query("garden")
    found: list[list[int]] = []
    after = None
    async with storage.read() as tx:
        while not found or after is not None:
            page = await tx.search.messages(conversation.owner_id, query, EVERY, PageRequest(after=after))
            found.append([message.index for message in page.items])
            after = page.next
    assert found == [[4], [3], [2, 1]]
    assert [len(text.encode()) for text in texts] == [19, 19, 509, 19]
    assert [message.index for message in said] == [1, 2, 3, 4]


async def test_a_message_of_very_many_words_is_stored_and_found_by_its_beginning(storage: Storage) -> None:
    text = " ".join(f"w{number}" for number in range(30_000)) + " garden"
    characters = "".join(map(chr, range(0x4E00, 0x9FFF))) * 3
    conversation, said = await store_texts(storage, text, characters, "x" * 60_000)
    assert await find(storage, conversation.owner_id, "w17") == [said[0]]
    assert await find(storage, conversation.owner_id, "garden") == []
    assert await find(storage, conversation.owner_id, chr(0x4E00)) == [said[1]]
    assert await find(storage, conversation.owner_id, "x" * 70) == [said[2]]


async def test_the_longest_queries_are_answered(storage: Storage) -> None:
    characters = "".join(map(chr, range(0x4E00, 0x4E00 + 500)))
    letters = " ".join(f"{letter}{number}*" for letter in "abcdefghij" for number in range(16))[:500]
    ligatures = "\N{ARABIC LIGATURE SALLALLAHOU ALAYHE WASALLAM}" * 500
    excluded = "q " + " ".join(f"-{chr(number)}" for number in range(0x4E00, 0x4E00 + 166))
    conversation, said = await store_texts(storage, characters, letters, ligatures, "q")
    for query, found in ((characters, [said[0]]), (letters, [said[1]]), (ligatures, [said[2]]), (excluded, [said[3]])):
        assert len(query) <= 500
        assert await find(storage, conversation.owner_id, query) == found
        assert await find_conversations(storage, conversation.owner_id, query) == []
