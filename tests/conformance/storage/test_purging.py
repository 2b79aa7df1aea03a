"""What a store guarantees of conversations whose purge time has come: they go whole, and nothing else with them."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from chatter_grpc.adapters.sql import schema
from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.core.conversations import PURGE_AFTER, Conversation
from chatter_grpc.core.errors import ConversationNotFound, MessageNotFound, RunNotFound
from chatter_grpc.core.housekeeping.duties import Cutoffs, Duty
from chatter_grpc.core.ids import CONVERSATION, new_id
from chatter_grpc.core.images import image_part
from chatter_grpc.core.pages import PageRequest
from chatter_grpc.core.storage import Storage
from chatter_grpc.core.usage import Usage
from tests.support.housekeeping import (
    RETENTION,
    delete_conversation,
    is_due,
    rows_naming,
    store_laden_conversation,
    sweep,
)
from tests.support.images import PNG
from tests.support.records import NOW, a_conversation, a_message, start_run, store_conversation, store_user

PURGE = NOW + PURGE_AFTER
BEFORE = PURGE - timedelta(microseconds=1)
# Tables in which a conversation is never named, and the log of what was done, which outlives what it tells of.
NOT_OF_CONVERSATIONS = {
    "users",
    "owners",
    "sessions",
    "refresh_tokens",
    "api_keys",
    "signing_keys",
    "revocations",
    "owner_turns",
    "message_counts",
}
KEPT = {"audit_log"}


async def test_nothing_names_a_conversation_that_was_purged(database: Database, storage: Storage) -> None:
    conversation, ids = await store_laden_conversation(storage)
    other, other_ids = await store_laden_conversation(storage, conversation.owner_id)
    # Whoever adds a table stores something in it above, or says here why nothing of a conversation can be in it.
    assert set(await rows_naming(database, ids)) == set(schema.METADATA.tables) - NOT_OF_CONVERSATIONS
    others = await rows_naming(database, other_ids)
    await delete_conversation(storage, conversation, PURGE)
    removed = await sweep(storage, PURGE, Duty.REQUESTS, Duty.CONVERSATIONS)
    assert set(await rows_naming(database, ids)) == KEPT
    others.pop("requests")
    assert await rows_naming(database, other_ids) == others
    assert (removed["conversations"], removed["runs"], removed["messages"]) == (1, 2, 8)
    async with storage.read() as tx:
        assert await tx.conversations.get(other.owner_id, other.id) == other


async def test_what_was_purged_is_not_found(storage: Storage) -> None:
    conversation, ids = await store_laden_conversation(storage)
    owner_id = conversation.owner_id
    await delete_conversation(storage, conversation, PURGE)
    await sweep(storage, PURGE, Duty.CONVERSATIONS)
    async with storage.write() as tx:
        with pytest.raises(ConversationNotFound):
            await tx.conversations.lock_deleted(owner_id, conversation.id)
        for run_id in ids:
            with pytest.raises(RunNotFound):
                await tx.runs.get(owner_id, run_id)
        for message_id in ids:
            with pytest.raises(MessageNotFound):
                await tx.messages.get(owner_id, message_id)


@pytest.mark.parametrize("limit", [1, 3])
async def test_a_large_conversation_goes_in_portions(database: Database, storage: Storage, limit: int) -> None:
    conversation, ids = await store_laden_conversation(storage)
    await delete_conversation(storage, conversation, PURGE)
    cutoffs = Cutoffs.at(PURGE, RETENTION)
    portions = []
    while await is_due(storage, PURGE, Duty.CONVERSATIONS):
        async with storage.write() as tx:
            portions.append(Counter(await tx.housekeeping.remove(Duty.CONVERSATIONS, cutoffs, limit)))
    assert len(portions) > 8 / limit
    assert all(portion["messages"] <= limit and portion["runs"] <= 1 for portion in portions)
    assert set(await rows_naming(database, ids)) == {*KEPT, "requests"}


@pytest.mark.parametrize("deleted", [False, True])
async def test_before_its_time_nothing_of_a_conversation_goes(
    database: Database, storage: Storage, deleted: bool
) -> None:
    conversation, ids = await store_laden_conversation(storage)
    if deleted:
        await delete_conversation(storage, conversation, PURGE)
    there = await rows_naming(database, ids)
    assert not await is_due(storage, BEFORE, Duty.CONVERSATIONS)
    assert not await sweep(storage, BEFORE, Duty.CONVERSATIONS)
    assert await rows_naming(database, ids) == there


async def test_a_conversation_whose_removal_has_begun_cannot_be_brought_back(storage: Storage) -> None:
    conversation, _ = await store_laden_conversation(storage)
    await delete_conversation(storage, conversation, PURGE)
    async with storage.write() as tx:
        await tx.housekeeping.remove(Duty.CONVERSATIONS, Cutoffs.at(PURGE, RETENTION), 1)
    async with storage.write() as tx:
        held = await tx.conversations.lock_deleted(conversation.owner_id, conversation.id)
    # By whatever clock, its purge time has come.
    assert held.purge_at is not None
    assert held.purge_at < NOW


async def test_a_conversation_that_was_brought_back_stays(storage: Storage) -> None:
    conversation, _ = await store_laden_conversation(storage)
    await delete_conversation(storage, conversation, PURGE)
    async with storage.write() as tx:
        await tx.conversations.restore(conversation)
    assert not await sweep(storage, PURGE, Duty.CONVERSATIONS)
    async with storage.read() as tx:
        page = await tx.messages.list(conversation.owner_id, conversation.id, PageRequest(), newest_first=False)
    assert len(page.items) == 6


async def test_a_conversation_with_an_active_run_waits_and_keeps_no_other_waiting(storage: Storage) -> None:
    busy = await store_conversation(storage)
    run = await start_run(storage, busy)
    idle, _ = await store_laden_conversation(storage)
    await delete_conversation(storage, busy, PURGE - timedelta(days=1))
    await delete_conversation(storage, idle, PURGE)
    assert (await sweep(storage, PURGE, Duty.CONVERSATIONS))["conversations"] == 1
    assert not await is_due(storage, PURGE, Duty.CONVERSATIONS)
    async with storage.read() as tx:
        assert (await tx.runs.get(run.owner_id, run.id)).state.active


async def test_a_fork_outlives_its_original(storage: Storage) -> None:
    conversation, _ = await store_laden_conversation(storage)
    fork = replace(a_conversation(conversation.owner_id), id=new_id(CONVERSATION))
    async with storage.write() as tx:
        await tx.conversations.add(fork, last_index=8)
        await tx.forks.copy(conversation.owner_id, conversation.id, 8, fork.id)
    async with storage.read() as tx:
        before = await tx.messages.list(fork.owner_id, fork.id, PageRequest(), newest_first=False)
        images = await tx.images.read(fork.owner_id, [message.id for message in before.items])
    await delete_conversation(storage, conversation, PURGE)
    await sweep(storage, PURGE, Duty.CONVERSATIONS)
    async with storage.read() as tx:
        assert await tx.messages.list(fork.owner_id, fork.id, PageRequest(), newest_first=False) == before
        assert await tx.images.read(fork.owner_id, [message.id for message in before.items]) == images
    assert len(before.items) == 6
    assert len(images) == 2


async def test_a_deleted_message_goes_after_the_same_time_with_its_images(database: Database, storage: Storage) -> None:
    conversation = await store_conversation(storage)
    kept, deleted = await _store_messages(storage, conversation)
    async with storage.write() as tx:
        await tx.messages.remove(conversation.owner_id, await tx.messages.get(conversation.owner_id, deleted), NOW)
    assert set(await rows_naming(database, [deleted])) == {"messages", "message_images"}
    assert not await sweep(storage, BEFORE, Duty.MESSAGES)
    assert await sweep(storage, PURGE, Duty.MESSAGES) == Counter(messages=1, message_images=1)
    assert not await rows_naming(database, [deleted])
    async with storage.read() as tx:
        assert (await tx.messages.get(conversation.owner_id, kept)).id == kept


async def _store_messages(storage: Storage, conversation: Conversation) -> list[str]:
    run = await start_run(storage, conversation)
    messages = tuple(
        a_message(conversation, run.id, parts=(image_part("image/png", PNG),), text_sha256="") for _ in range(2)
    )
    async with storage.write() as tx:
        await tx.messages.append(conversation.id, messages, Usage())
        await tx.images.add(messages)
    return [message.id for message in messages]


async def test_the_account_of_a_purged_conversation_stays_as_it_is(storage: Storage) -> None:
    user = await store_user(storage)
    conversation, _ = await store_laden_conversation(storage, user.id)
    await delete_conversation(storage, conversation, PURGE)
    await sweep(storage, PURGE)
    async with storage.read() as tx:
        assert await tx.users.get(user.id) == user
        assert await tx.users.owners_of(user.id) == (user.id,)
