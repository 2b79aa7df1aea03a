"""What a store of messages guarantees."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatter_grpc.core import pages
from chatter_grpc.core.conversations import Conversation
from chatter_grpc.core.errors import ConversationNotFound, MessageNotFound
from chatter_grpc.core.messages import Message, Rating
from chatter_grpc.core.pages import PageRequest
from chatter_grpc.core.storage import Storage
from chatter_grpc.core.usage import Usage
from tests.support.pages import read_all
from tests.support.records import NOW, a_message, an_answer, start_run, store_conversation, store_user

LATER = NOW + timedelta(hours=1)
NONE = Usage()


async def append(
    storage: Storage, conversation: Conversation, *messages: Message, usage: Usage = NONE
) -> tuple[Message, ...]:
    async with storage.write() as tx:
        first = await tx.messages.append(conversation.id, messages, usage)
    return tuple(replace(message, index=first + place) for place, message in enumerate(messages))


async def fill(storage: Storage, count: int, owner_id: str = "") -> tuple[Conversation, tuple[Message, ...]]:
    """Store a conversation with so many messages."""
    conversation = await store_conversation(storage, owner_id)
    run = await start_run(storage, conversation)
    messages = await append(storage, conversation, *(a_message(conversation, run.id) for _ in range(count)))
    return conversation, messages


async def test_messages_come_back_as_they_were_stored(storage: Storage) -> None:
    conversation = await store_conversation(storage)
    run = await start_run(storage, conversation)
    known = Usage(input_tokens=2**40, output_tokens=0, cost_micros=2**50)
    messages = await append(
        storage,
        conversation,
        a_message(conversation, run.id),
        an_answer(conversation, run.id),
        an_answer(conversation, run.id, usage=known, parts=(), text=""),
    )
    async with storage.read() as tx:
        for message in messages:
            assert await tx.messages.get(conversation.owner_id, message.id) == message


async def test_messages_get_the_next_indexes_of_their_conversation(storage: Storage) -> None:
    conversation = await store_conversation(storage)
    other = await store_conversation(storage, conversation.owner_id)
    run = await start_run(storage, conversation)
    async with storage.write() as tx:
        append = tx.messages.append
        assert await append(conversation.id, (a_message(conversation, run.id),), NONE) == 1
        two = (a_message(conversation, run.id), a_message(conversation, run.id))
        assert await append(conversation.id, two, NONE) == 2
        assert await append(conversation.id, (), NONE) == 4
        assert await append(conversation.id, (a_message(conversation, run.id),), NONE) == 4
        assert await append(other.id, (a_message(other, run.id),), NONE) == 1


async def test_appending_counts_messages_and_adds_usage_once(storage: Storage) -> None:
    conversation = await store_conversation(storage)
    run = await start_run(storage, conversation)
    usage = Usage(input_tokens=1, output_tokens=2, cost_micros=3)
    messages = (a_message(conversation, run.id), an_answer(conversation, run.id, created_at=LATER))
    await append(storage, conversation, *messages, usage=usage)
    await append(storage, conversation, a_message(conversation, run.id, created_at=LATER), usage=usage)
    async with storage.read() as tx:
        now = await tx.conversations.get(conversation.owner_id, conversation.id)
    assert now == replace(conversation, message_count=3, last_message_at=LATER, usage=usage + usage)


async def test_without_messages_only_the_usage_is_added(storage: Storage) -> None:
    conversation = await store_conversation(storage)
    usage = Usage(input_tokens=1, output_tokens=2, cost_micros=3, estimated=True)
    await append(storage, conversation, usage=usage)
    async with storage.read() as tx:
        now = await tx.conversations.get(conversation.owner_id, conversation.id)
    assert now == replace(conversation, usage=usage)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    usages=st.lists(
        st.builds(
            Usage,
            input_tokens=st.integers(0, 9),
            output_tokens=st.integers(0, 9),
            cost_micros=st.none() | st.integers(0, 9),
            estimated=st.booleans(),
        ),
        max_size=4,
    )
)
async def test_a_conversations_usage_is_the_sum_and_unknown_stays_unknown(
    storage: Storage, usages: list[Usage]
) -> None:
    conversation = await store_conversation(storage)
    for usage in usages:
        await append(storage, conversation, usage=usage)
    async with storage.read() as tx:
        now = await tx.conversations.get(conversation.owner_id, conversation.id)
    assert now.usage == sum(usages, start=Usage())


async def test_the_end_of_a_run_is_appended_to_a_deleted_conversation_too(storage: Storage) -> None:
    conversation, messages = await fill(storage, 1)
    async with storage.write() as tx:
        await tx.conversations.replace(replace(conversation, deleted_at=LATER))
        assert await tx.messages.append(conversation.id, (a_message(conversation, messages[0].run_id),), NONE) == 2


async def test_messages_of_a_deleted_conversation_are_invisible(storage: Storage) -> None:
    conversation, messages = await fill(storage, 2)
    owner_id = conversation.owner_id
    async with storage.write() as tx:
        await tx.conversations.replace(replace(conversation, deleted_at=LATER))
    async with storage.read() as tx:
        with pytest.raises(MessageNotFound):
            await tx.messages.get(owner_id, messages[0].id)
        listed = await tx.messages.list(owner_id, conversation.id, PageRequest(), newest_first=False)
        assert listed.items == ()
        assert await tx.messages.latest(owner_id, conversation.id, 3, 9) == ()


@pytest.mark.platform("T1", "T2")
async def test_a_foreign_message_is_not_found(storage: Storage) -> None:
    conversation, messages = await fill(storage, 2)
    other = await store_user(storage)
    async with storage.read() as tx:
        for owner_id, message_id in ((other.id, messages[0].id), (conversation.owner_id, "msg_none")):
            with pytest.raises(MessageNotFound):
                await tx.messages.get(owner_id, message_id)
        page = await tx.messages.list(other.id, conversation.id, PageRequest(), newest_first=False)
        assert page.items == ()
        assert await tx.messages.latest(other.id, conversation.id, 3, 9) == ()


async def test_appending_to_a_conversation_that_is_not_there_is_refused(storage: Storage) -> None:
    with pytest.raises(ConversationNotFound):
        async with storage.write() as tx:
            await tx.messages.append("conv_none", (), NONE)


async def test_transactions_that_append_at_once_get_indexes_without_a_gap(storage: Storage) -> None:
    conversation, _ = await fill(storage, 0)
    run = await start_run(storage, await store_conversation(storage, conversation.owner_id))

    async def add() -> int:
        async with storage.write() as tx:
            index = await tx.messages.append(conversation.id, (a_message(conversation, run.id),), NONE)
            await asyncio.sleep(0.01)
            return index

    assert sorted(await asyncio.gather(*(add() for _ in range(5)))) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("newest_first", [False, True])
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(0, 9), size=st.integers(1, 5))
async def test_pages_of_messages_put_together_are_the_whole_conversation(
    storage: Storage, newest_first: bool, count: int, size: int
) -> None:
    conversation, messages = await fill(storage, count)
    await fill(storage, 2, conversation.owner_id)
    async with storage.read() as tx:
        listed = await read_all(
            lambda page: tx.messages.list(conversation.owner_id, conversation.id, page, newest_first=newest_first),
            size,
        )
    assert listed == list(reversed(messages) if newest_first else messages)


@pytest.mark.parametrize(
    ("before", "count", "expected"), [(6, 3, [3, 4, 5]), (4, 9, [1, 2, 3]), (1, 3, []), (6, 0, []), (99, 2, [4, 5])]
)
async def test_the_latest_messages_end_just_before_an_index_and_are_in_order(
    storage: Storage, before: int, count: int, expected: list[int]
) -> None:
    conversation, messages = await fill(storage, 5)
    async with storage.read() as tx:
        latest = await tx.messages.latest(conversation.owner_id, conversation.id, before, count)
    assert latest == tuple(messages[index - 1] for index in expected)


async def test_a_deleted_message_is_invisible_and_not_counted_and_the_others_stay_where_they_are(
    storage: Storage,
) -> None:
    conversation, messages = await fill(storage, 4)
    owner_id = conversation.owner_id
    async with storage.write() as tx:
        await tx.messages.remove(owner_id, messages[1], LATER)
    async with storage.read() as tx:
        with pytest.raises(MessageNotFound):
            await tx.messages.get(owner_id, messages[1].id)
        kept = (messages[0], *messages[2:])
        assert (await tx.messages.list(owner_id, conversation.id, PageRequest(), newest_first=False)).items == kept
        assert await tx.messages.latest(owner_id, conversation.id, 5, 2) == messages[2:]
        assert await tx.messages.latest(owner_id, conversation.id, 3, 9) == messages[:1]
        now = await tx.conversations.get(owner_id, conversation.id)
        assert now == replace(conversation, message_count=3, last_message_at=messages[0].created_at)
    (added,) = await append(storage, conversation, a_message(conversation, messages[0].run_id))
    assert added.index == 5
    async with storage.write() as tx:
        with pytest.raises(MessageNotFound):
            await tx.messages.remove(owner_id, messages[1], LATER)


async def test_a_rating_takes_the_place_of_the_one_before_and_can_be_taken_back(storage: Storage) -> None:
    conversation, (message, other) = await fill(storage, 2)
    owner_id = conversation.owner_id
    ratings = (Rating(value=5, comment="", rated_at=NOW), Rating(value=1, comment="No\x00.", rated_at=LATER), None)
    for rating in ratings:
        async with storage.write() as tx:
            await tx.messages.rate(owner_id, message.id, rating)
        async with storage.read() as tx:
            assert await tx.messages.get(owner_id, message.id) == replace(message, rating=rating)
            assert await tx.messages.get(owner_id, other.id) == other


@pytest.mark.platform("T1", "T2")
async def test_a_foreign_message_is_neither_deleted_nor_rated(storage: Storage) -> None:
    conversation, (message,) = await fill(storage, 1)
    other = await store_user(storage)
    async with storage.write() as tx:
        with pytest.raises(MessageNotFound):
            await tx.messages.remove(other.id, message, LATER)
        with pytest.raises(MessageNotFound):
            await tx.messages.rate(other.id, message.id, Rating(value=1, comment="", rated_at=NOW))
        assert await tx.messages.get(conversation.owner_id, message.id) == message


async def test_a_page_of_messages_ends_where_their_texts_get_long(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = await store_conversation(storage)
    run = await start_run(storage, conversation)
    texts = ("é" * 10, "é" * 10, "x" * 500, "x" * 19, "x" * 2)
    said = await append(storage, conversation, *(a_message(conversation, run.id, text=text) for text in texts))
    monkeypatch.setattr(pages, "MAX_BYTES", 40)
    for newest_first, size, expected in (
        (False, 50, [[1, 2], [3], [4, 5]]),
        (True, 50, [[5, 4], [3], [2, 1]]),
        (False, 1, [[1], [2], [3], [4], [5]]),
    ):
        found: list[list[int]] = []
        request: PageRequest | None = PageRequest(size=size)
        while request is not None:
            async with storage.read() as tx:
                page = await tx.messages.list(
                    conversation.owner_id, conversation.id, request, newest_first=newest_first
                )
            found.append([message.index for message in page.items])
            request = None if page.next is None else PageRequest(size=size, after=page.next)
        assert found == expected
    assert len(said) == 5
