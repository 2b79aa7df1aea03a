"""What a store of conversations guarantees."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatter_grpc.core import pages
from chatter_grpc.core.conversations import (
    Conversation,
    ConversationFilter,
    ConversationOrder,
    ConversationStatus,
    Memory,
    MemoryMode,
    ModelSettings,
)
from chatter_grpc.core.errors import ConversationNotFound
from chatter_grpc.core.pages import PageRequest
from chatter_grpc.core.storage import Storage
from chatter_grpc.core.usage import Usage
from tests.support.pages import read_all
from tests.support.records import NOW, a_conversation, a_message, start_run, store_conversation, store_user

LATER = NOW + timedelta(hours=1)


async def list_all(storage: Storage, owner_id: str, wanted: ConversationFilter, size: int = 50) -> list[Conversation]:
    async with storage.read() as tx:
        return await read_all(lambda page: tx.conversations.list(owner_id, wanted, page), size)


async def test_a_conversation_comes_back_as_it_was_stored(storage: Storage) -> None:
    owner = await store_user(storage)
    bare = a_conversation(
        owner.id,
        title="",
        description="",
        status=ConversationStatus.ARCHIVED,
        settings=ModelSettings(),
        memory=Memory(mode=MemoryMode.OFF),
        tags=(),
        metadata={},
    )
    full = a_conversation(owner.id, version=3, updated_at=LATER)
    async with storage.write() as tx:
        await tx.conversations.add(bare)
        await tx.conversations.add(full)
        assert await tx.conversations.lock(owner.id, full.id) == full
    async with storage.read() as tx:
        assert await tx.conversations.get(owner.id, bare.id) == bare
        assert await tx.conversations.get(owner.id, full.id) == full


@pytest.mark.platform("T1", "T2")
async def test_a_foreign_conversation_is_not_found(storage: Storage) -> None:
    conversation, other = await store_conversation(storage), await store_user(storage)
    async with storage.write() as tx:
        for owner_id, conversation_id in (
            (other.id, conversation.id),
            (conversation.owner_id, "conv_none"),
            (conversation.owner_id, f"{conversation.id}\x00"),
        ):
            with pytest.raises(ConversationNotFound):
                await tx.conversations.get(owner_id, conversation_id)
            with pytest.raises(ConversationNotFound):
                await tx.conversations.lock(owner_id, conversation_id)
            with pytest.raises(ConversationNotFound):
                await tx.conversations.replace(replace(conversation, id=conversation_id, owner_id=owner_id))
        assert (await tx.conversations.list(other.id, ConversationFilter(), PageRequest())).items == ()
        assert await tx.conversations.get(conversation.owner_id, conversation.id) == conversation


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet=st.one_of(st.sampled_from("\x00\x01\x02a%"), st.characters(exclude_categories=["Cs"]))))
async def test_texts_of_any_characters_come_back_as_they_were_stored(storage: Storage, text: str) -> None:
    conversation = await store_conversation(
        storage,
        title=text,
        description=text,
        settings=ModelSettings(model=text, system_prompt=text),
        tags=(text,),
        metadata={text: text},
    )
    async with storage.read() as tx:
        assert await tx.conversations.get(conversation.owner_id, conversation.id) == conversation


async def test_replacing_writes_the_own_fields(storage: Storage) -> None:
    conversation = await store_conversation(storage)
    changed = replace(
        conversation,
        title="Another",
        description="Another",
        status=ConversationStatus.ARCHIVED,
        settings=ModelSettings(system_prompt=""),
        memory=Memory(mode=MemoryMode.OFF, window=1),
        tags=("work", "new"),
        metadata={"a": "b"},
        updated_at=LATER,
        version=2,
    )
    async with storage.write() as tx:
        await tx.conversations.lock(conversation.owner_id, conversation.id)
        await tx.conversations.replace(changed)
    async with storage.read() as tx:
        assert await tx.conversations.get(conversation.owner_id, conversation.id) == changed


async def test_replacing_leaves_counters_and_the_rest_alone(storage: Storage) -> None:
    conversation = await store_conversation(storage)
    run = await start_run(storage, conversation)
    usage = Usage(input_tokens=1, output_tokens=2, cost_micros=3)
    async with storage.write() as tx:
        await tx.messages.append(conversation.id, (a_message(conversation, run.id, created_at=LATER),), usage)
        await tx.conversations.replace(replace(conversation, title="New", created_at=LATER, message_count=7))
    async with storage.read() as tx:
        now = await tx.conversations.get(conversation.owner_id, conversation.id)
    assert now == replace(conversation, title="New", message_count=1, usage=usage, last_message_at=LATER)


async def test_whoever_waits_for_a_conversation_sees_what_the_one_before_wrote(storage: Storage) -> None:
    conversation = await store_conversation(storage)

    async def look() -> Conversation:
        async with storage.write() as tx:
            return await tx.conversations.lock(conversation.owner_id, conversation.id)

    changed = replace(conversation, tags=("other",), version=2)
    async with storage.write() as tx:
        await tx.conversations.lock(conversation.owner_id, conversation.id)
        looking = asyncio.create_task(look())
        await asyncio.sleep(0.05)
        assert not looking.done()
        await tx.conversations.replace(changed)
    assert await looking == changed


async def test_a_deleted_conversation_is_invisible_to_all_methods(storage: Storage) -> None:
    kept = await store_conversation(storage)
    conversation = await store_conversation(storage, kept.owner_id)
    gone = replace(conversation, deleted_at=LATER, purge_at=LATER + timedelta(days=30))
    async with storage.write() as tx:
        await tx.conversations.replace(gone)
    async with storage.write() as tx:
        with pytest.raises(ConversationNotFound):
            await tx.conversations.get(conversation.owner_id, conversation.id)
        with pytest.raises(ConversationNotFound):
            await tx.conversations.lock(conversation.owner_id, conversation.id)
        with pytest.raises(ConversationNotFound):
            await tx.conversations.replace(conversation)
        for wanted in (ConversationFilter(), ConversationFilter(tag="work")):
            assert (await tx.conversations.list(kept.owner_id, wanted, PageRequest())).items == (kept,)


async def test_conversations_are_listed_by_status(storage: Storage) -> None:
    active = await store_conversation(storage)
    archived = await store_conversation(storage, active.owner_id, status=ConversationStatus.ARCHIVED)
    for status, expected in ((ConversationStatus.ACTIVE, active), (ConversationStatus.ARCHIVED, archived)):
        assert await list_all(storage, active.owner_id, ConversationFilter(status=status)) == [expected]


async def test_conversations_are_listed_by_tag_as_it_is_now(storage: Storage) -> None:
    first = await store_conversation(storage, tags=("a", "b"))
    second = await store_conversation(storage, first.owner_id, tags=("b", "B"))
    owner_id = first.owner_id

    async def tagged(tag: str) -> set[str]:
        return {found.id for found in await list_all(storage, owner_id, ConversationFilter(tag=tag))}

    assert await tagged("a") == {first.id}
    assert await tagged("b") == {first.id, second.id}
    assert await tagged("B") == {second.id}
    async with storage.write() as tx:
        await tx.conversations.replace(replace(first, tags=("c",)))
    assert await tagged("a") == set()
    assert await tagged("b") == {second.id}
    assert await tagged("c") == {first.id}


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("größe", True),
        ("GRößE", True),
        ("on „", True),
        ("OF a_B", True),
        ("100%", True),
        ("%", True),
        ("\N{SNOWMAN}", True),
        ("GRÖßE", False),
        ("GRÖSSE", False),
        ("1_0", False),
        ("a%b", False),
        ("\\", False),
        ("absent", False),
        ("\x00", False),
    ],
)
async def test_text_is_found_in_title_and_description_whatever_the_case_of_ascii_letters(
    storage: Storage, text: str, is_found: bool
) -> None:
    conversation = await store_conversation(storage, title="On „Größe“ \N{SNOWMAN}", description="100% of A_b")
    listed = await list_all(storage, conversation.owner_id, ConversationFilter(text=text))
    assert listed == ([conversation] if is_found else [])


async def test_a_conversation_counts_as_active_from_its_creation_and_then_from_its_last_message(
    storage: Storage,
) -> None:
    first = await store_conversation(storage)
    second = await store_conversation(storage, first.owner_id, created_at=NOW + timedelta(minutes=1))
    assert [each.id for each in await list_all(storage, first.owner_id, ConversationFilter())] == [second.id, first.id]
    run = await start_run(storage, first)
    async with storage.write() as tx:
        await tx.messages.append(first.id, (a_message(first, run.id, created_at=LATER),), Usage())
    assert [each.id for each in await list_all(storage, first.owner_id, ConversationFilter())] == [first.id, second.id]


KEYS: dict[ConversationOrder, Callable[[Conversation], Any]] = {
    ConversationOrder.ACTIVITY: lambda each: (each.last_message_at or each.created_at, each.id),
    ConversationOrder.CREATED: lambda each: (each.created_at, each.id),
    ConversationOrder.TITLE: lambda each: (each.title, each.created_at, each.id),
}


async def test_a_text_is_found_on_both_sides_of_its_control_characters(storage: Storage) -> None:
    conversation = await store_conversation(storage, title="first\x00second\x01third", tags=("a\x00",))
    for wanted in (
        *(ConversationFilter(text=text) for text in ("first", "second", "t\x00s", "d\x01t")),
        ConversationFilter(tag="a\x00"),
    ):
        assert await list_all(storage, conversation.owner_id, wanted) == [conversation]
    assert await list_all(storage, conversation.owner_id, ConversationFilter(tag="a")) == []


@pytest.mark.parametrize("order", ConversationOrder)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    drawn=st.lists(
        # Few values, so that many are equal; letters whose order a locale would turn around.
        st.tuples(
            st.sampled_from(["", "a", "B", "ä", "a b", "\U0001f600", "\uffee", "a\x00", "a\x01", "a\x02", "a\x01\x00"]),
            st.integers(0, 2),
        ),
        max_size=9,
    ),
    size=st.integers(1, 5),
)
async def test_pages_put_together_are_the_whole_list_in_order(
    storage: Storage, order: ConversationOrder, drawn: list[tuple[str, int]], size: int
) -> None:
    owner = await store_user(storage)
    made = [a_conversation(owner.id, title=title, created_at=NOW + timedelta(microseconds=at)) for title, at in drawn]
    async with storage.write() as tx:
        for conversation in made:
            await tx.conversations.add(conversation)
    expected = sorted(made, key=KEYS[order], reverse=order is not ConversationOrder.TITLE)
    assert await list_all(storage, owner.id, ConversationFilter(order=order), size) == expected


async def test_a_page_goes_on_after_a_conversation_that_is_gone(storage: Storage) -> None:
    owner = await store_user(storage)
    made = [await store_conversation(storage, owner.id, title=title) for title in "abc"]
    by_title = ConversationFilter(order=ConversationOrder.TITLE)
    async with storage.write() as tx:
        page = await tx.conversations.list(owner.id, by_title, PageRequest(size=1))
        await tx.conversations.replace(replace(made[0], deleted_at=NOW))
        assert (await tx.conversations.list(owner.id, by_title, PageRequest(size=1, after=page.next))).items == (
            made[1],
        )


async def test_a_deleted_conversation_can_be_held_and_restored(storage: Storage) -> None:
    conversation = await store_conversation(storage, tags=("work",))
    gone = replace(conversation, deleted_at=LATER, purge_at=LATER + timedelta(days=30), version=2)
    async with storage.write() as tx:
        assert await tx.conversations.lock_deleted(conversation.owner_id, conversation.id) == conversation
        await tx.conversations.replace(gone)
    back = replace(gone, deleted_at=None, purge_at=None, version=3)
    async with storage.write() as tx:
        assert await tx.conversations.lock_deleted(conversation.owner_id, conversation.id) == gone
        await tx.conversations.restore(back)
    async with storage.read() as tx:
        assert await tx.conversations.get(conversation.owner_id, conversation.id) == back
    assert await list_all(storage, conversation.owner_id, ConversationFilter(tag="work")) == [back]


@pytest.mark.platform("T1", "T2")
async def test_a_foreign_deleted_conversation_is_not_found(storage: Storage) -> None:
    conversation, other = await store_conversation(storage, deleted_at=LATER), await store_user(storage)
    async with storage.write() as tx:
        with pytest.raises(ConversationNotFound):
            await tx.conversations.lock_deleted(other.id, conversation.id)
        with pytest.raises(ConversationNotFound):
            await tx.conversations.restore(replace(conversation, owner_id=other.id))
        assert await tx.conversations.lock_deleted(conversation.owner_id, conversation.id) == conversation


async def test_a_page_of_conversations_ends_where_what_they_hold_gets_long(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await store_user(storage)
    bare: dict[str, Any] = {"title": "", "description": "", "tags": (), "metadata": {}, "settings": ModelSettings()}
    kinds: tuple[dict[str, Any], ...] = (
        {"title": "é" * 10},
        {"description": "é" * 10},
        {"settings": ModelSettings(system_prompt="x" * 100)},
        {"tags": ("é" * 5,), "metadata": {"é" * 2: "é" * 3}},
    )
    for place, changes in enumerate(kinds):
        at = NOW + timedelta(seconds=place)
        await store_conversation(storage, owner.id, created_at=at, **{**bare, **changes})
    monkeypatch.setattr(pages, "MAX_BYTES", 40)
    seen: list[tuple[Conversation, ...]] = []
    after = None
    while not seen or after is not None:
        async with storage.read() as tx:
            page = await tx.conversations.list(owner.id, ConversationFilter(), PageRequest(after=after))
        seen.append(tuple(page.items))
        after = page.next
    assert [len(items) for items in seen] == [1, 1, 2]
    # What is written later counts, too.
    first = seen[-1][0]
    async with storage.write() as tx:
        await tx.conversations.replace(replace(first, title="x" * 30))
        page = await tx.conversations.list(owner.id, ConversationFilter(), PageRequest(after=None))
        assert len(page.items) == 1


async def test_a_conversation_counts_as_active_from_its_creation_at_least(storage: Storage) -> None:
    first = await store_conversation(storage, created_at=NOW + timedelta(seconds=1))
    fork = await store_conversation(storage, first.owner_id, created_at=NOW + timedelta(seconds=2), last_message_at=NOW)
    assert [each.id for each in await list_all(storage, first.owner_id, ConversationFilter())] == [fork.id, first.id]
