"""Answers that were replaced: which they are, who still sees them, and what the conversation counts."""

from dataclasses import replace
from datetime import timedelta

import pytest

from chatter_grpc.core.conversations import Conversation
from chatter_grpc.core.messages import Message
from chatter_grpc.core.pages import PageRequest
from chatter_grpc.core.storage import Storage
from tests.support.records import NOW, RUN_USAGE, a_message, an_answer, finish_run, start_run, store_conversation


@pytest.fixture
async def conversation(storage: Storage) -> Conversation:
    return await store_conversation(storage)


async def exchange(storage: Storage, conversation: Conversation, text: str, *answers: str) -> tuple[str, list[Message]]:
    """Store a question and its answers, all of one run; return the run, and the messages as they are stored."""
    run = await start_run(storage, conversation)
    said = (
        a_message(conversation, run.id, text=text),
        *(an_answer(conversation, run.id, text=each) for each in answers),
    )
    return run.id, await add(storage, conversation, said, run.id)


async def again(
    storage: Storage, conversation: Conversation, question: Message, text: str
) -> tuple[str, list[Message]]:
    """Store another answer by a run of its own, which replaces those before."""
    run = await start_run(storage, conversation)
    stored = await add(storage, conversation, (an_answer(conversation, run.id, text=text),), run.id)
    async with storage.write() as tx:
        await tx.messages.replace_answers(conversation.owner_id, conversation.id, question.id, run.id)
    return run.id, stored


async def add(
    storage: Storage, conversation: Conversation, messages: tuple[Message, ...], run_id: str
) -> list[Message]:
    async with storage.write() as tx:
        first = await tx.messages.append(conversation.id, messages, RUN_USAGE)
        run = await tx.runs.get(conversation.owner_id, run_id)
    assert await finish_run(storage, run)
    return [replace(message, index=first + place) for place, message in enumerate(messages)]


async def listed(storage: Storage, conversation: Conversation, *, replaced: bool, size: int = 50) -> list[Message]:
    """Read all pages."""
    found: list[Message] = []
    page = PageRequest(size=size)
    async with storage.read() as tx:
        while True:
            got = await tx.messages.list(
                conversation.owner_id, conversation.id, page, newest_first=False, include_replaced=replaced
            )
            found += got.items
            if got.next is None:
                return found
            page = PageRequest(size=size, after=got.next)


async def count_of(storage: Storage, conversation: Conversation) -> int:
    async with storage.read() as tx:
        return (await tx.conversations.get(conversation.owner_id, conversation.id)).message_count


async def test_other_answers_to_the_question_are_replaced_and_nothing_else(
    storage: Storage, conversation: Conversation
) -> None:
    _, before = await exchange(storage, conversation, "one", "kept")
    _, (question, old, older) = await exchange(storage, conversation, "two", "old", "older")
    other = await store_conversation(storage, conversation.owner_id)
    _, elsewhere = await exchange(storage, other, "two", "elsewhere")
    run_id, (new,) = await again(storage, conversation, question, "new")
    gone = [replace(each, replaced_by_run_id=run_id) for each in (old, older)]
    assert await listed(storage, conversation, replaced=True) == [*before, question, *gone, new]
    for size in (1, 2, 50):
        assert await listed(storage, conversation, replaced=False, size=size) == [*before, question, new]
    assert await listed(storage, other, replaced=False) == elsewhere
    assert (await count_of(storage, conversation), await count_of(storage, other)) == (4, 2)
    async with storage.read() as tx:
        assert await tx.messages.get(conversation.owner_id, old.id) == gone[0]
        assert await tx.messages.latest(conversation.owner_id, conversation.id, 100, 3) == (before[1], question, new)


async def test_what_was_replaced_stays_replaced_by_the_first_and_is_counted_once(
    storage: Storage, conversation: Conversation
) -> None:
    _, (question, old) = await exchange(storage, conversation, "one", "old")
    first, (new,) = await again(storage, conversation, question, "new")
    second, (newer,) = await again(storage, conversation, question, "newer")
    assert await listed(storage, conversation, replaced=True) == [
        question,
        replace(old, replaced_by_run_id=first),
        replace(new, replaced_by_run_id=second),
        newer,
    ]
    assert await count_of(storage, conversation) == 2


async def test_a_question_without_an_answer_has_none_to_replace(storage: Storage, conversation: Conversation) -> None:
    _, (question,) = await exchange(storage, conversation, "one")
    _, (new,) = await again(storage, conversation, question, "new")
    assert await listed(storage, conversation, replaced=True) == [question, new]
    assert await count_of(storage, conversation) == 2


async def test_nobody_replaces_what_somebody_else_owns(storage: Storage, conversation: Conversation) -> None:
    run_id, before = await exchange(storage, conversation, "one", "answer")
    stranger = await store_conversation(storage)
    async with storage.write() as tx:
        for owner_id, conversation_id in (
            (stranger.owner_id, conversation.id),
            (stranger.owner_id, stranger.id),
            (conversation.owner_id, stranger.id),
        ):
            await tx.messages.replace_answers(owner_id, conversation_id, before[0].id, "run_other")
    assert await listed(storage, conversation, replaced=True) == before
    assert run_id


async def test_the_last_question_is_the_users_latest_message(storage: Storage, conversation: Conversation) -> None:
    async with storage.read() as tx:
        assert await tx.messages.last_question(conversation.owner_id, conversation.id) is None
    await exchange(storage, conversation, "one", "answer")
    _, (question, *_) = await exchange(storage, conversation, "two", "answer", "more")
    stranger = await store_conversation(storage)
    async with storage.write() as tx:
        assert await tx.messages.last_question(conversation.owner_id, conversation.id) == question
        assert await tx.messages.last_question(stranger.owner_id, conversation.id) is None
        await tx.messages.remove(conversation.owner_id, question, NOW + timedelta(hours=1))
        found = await tx.messages.last_question(conversation.owner_id, conversation.id)
        assert found is not None
        assert found.text == "one"
