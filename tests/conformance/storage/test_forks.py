"""What a store that copies messages guarantees."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chatter_grpc.core.conversations import Conversation
from chatter_grpc.core.forks import Extent
from chatter_grpc.core.messages import ImagePart, Message, Rating, TextPart, sha256_of
from chatter_grpc.core.pages import PageRequest
from chatter_grpc.core.search import MessageFilter
from chatter_grpc.core.search_query import parse_query
from chatter_grpc.core.storage import Storage
from chatter_grpc.core.usage import Usage
from tests.support.records import NOW, a_message, an_answer, start_run, store_conversation, store_user

IMAGE = ImagePart(media_type="image/png", size_bytes=4, sha256=sha256_of("data"), data=b"data")


async def listed(storage: Storage, conversation: Conversation) -> tuple[Message, ...]:
    async with storage.read() as tx:
        page = await tx.messages.list(conversation.owner_id, conversation.id, PageRequest(), newest_first=False)
    return page.items


async def talk(storage: Storage) -> tuple[Conversation, tuple[Message, ...]]:
    """Store a conversation of five messages: with a picture, a rating, and one that is deleted."""
    conversation = await store_conversation(storage)
    run = await start_run(storage, conversation)
    said = (
        a_message(conversation, run.id, parts=(TextPart(text="garden é"), IMAGE)),
        an_answer(conversation, run.id, text="green garden"),
        a_message(conversation, run.id, text="deleted garden"),
        an_answer(conversation, run.id, text="last garden", created_at=NOW + timedelta(minutes=1)),
        a_message(conversation, run.id, text="garden that is not copied"),
    )
    async with storage.write() as tx:
        await tx.messages.append(conversation.id, said, Usage())
        await tx.images.add(said)
        await tx.messages.rate(conversation.owner_id, said[1].id, Rating(value=5, comment="yes", rated_at=NOW))
        await tx.messages.remove(conversation.owner_id, said[2], NOW)
    return conversation, await listed(storage, conversation)


async def fork(storage: Storage, conversation: Conversation, last_index: int) -> Conversation:
    made = await store_conversation(storage, conversation.owner_id)
    async with storage.write() as tx:
        await tx.forks.copy(conversation.owner_id, conversation.id, last_index, made.id)
    return made


async def test_copies_are_as_their_originals_but_for_what_is_their_own(storage: Storage) -> None:
    conversation, said = await talk(storage)
    made = await fork(storage, conversation, 4)
    copies = await listed(storage, made)
    assert [copy.index for copy in copies] == [1, 2, 4]
    for copy, original in zip(copies, said[:3], strict=True):
        own: dict[str, Any] = {
            "id": copy.id,
            "conversation_id": made.id,
            "copied_from": original.id,
            "usage": None,
            "rating": None,
        }
        assert copy == replace(original, **own)
        assert copy.id != original.id
        assert (len(copy.id), copy.id[:4]) == (len(original.id), "msg_")
    assert said[1].rating is not None
    assert said[1].usage is not None
    assert len({copy.id for copy in copies}) == 3
    assert await listed(storage, conversation) == said


async def test_a_copy_has_the_images_and_is_found_by_its_words(storage: Storage) -> None:
    conversation, said = await talk(storage)
    made = await fork(storage, conversation, 2)
    copies = await listed(storage, made)
    owner_id = conversation.owner_id
    async with storage.read() as tx:
        assert await tx.images.read(owner_id, (copies[0].id,)) == {copies[0].id: {1: b"data"}}
        found = await tx.search.messages(owner_id, parse_query("garden"), MessageFilter(), PageRequest())
        assert [each.id for each in found.items] == [
            *(copy.id for copy in reversed(copies)),
            *(each.id for each in reversed(said)),
        ]


async def test_a_copy_lives_on_without_its_original_and_can_be_copied_again(storage: Storage) -> None:
    conversation, said = await talk(storage)
    made = await fork(storage, conversation, 2)
    async with storage.write() as tx:
        await tx.messages.remove(conversation.owner_id, said[0], NOW)
        await tx.conversations.replace(replace(conversation, deleted_at=NOW))
    (copy, _) = await listed(storage, made)
    again = await listed(storage, await fork(storage, made, 1))
    assert [(each.copied_from, each.text, each.run_id) for each in again] == [(copy.id, copy.text, said[0].run_id)]


async def test_the_extent_counts_texts_and_images_of_what_is_there(storage: Storage) -> None:
    conversation, _ = await talk(storage)
    owner_id = conversation.owner_id
    async with storage.read() as tx:
        for last_index, messages, size in ((0, 0, 0), (1, 1, 13), (2, 2, 25), (3, 2, 25), (4, 3, 36), (9, 4, 61)):
            extent = await tx.forks.measure(owner_id, conversation.id, last_index)
            assert (extent.messages, extent.size_bytes) == (messages, size), last_index
            later = timedelta(minutes=int(last_index >= 4))
            assert extent.last_message_at == (NOW + later if messages else None)


@pytest.mark.platform("T1", "T2")
async def test_of_another_owner_there_is_nothing_to_copy(storage: Storage) -> None:
    conversation, _ = await talk(storage)
    stranger = await store_user(storage)
    mine = await store_conversation(storage, stranger.id)
    async with storage.write() as tx:
        assert await tx.forks.measure(stranger.id, conversation.id, 9) == Extent(
            messages=0, size_bytes=0, last_message_at=None
        )
        await tx.forks.copy(stranger.id, conversation.id, 9, mine.id)
    assert await listed(storage, mine) == ()
