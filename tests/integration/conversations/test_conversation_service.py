"""What callers do with conversations has its effect once, and on their own alone."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chatter_grpc.core.callers import Caller
from chatter_grpc.core.conversation_service import (
    IMMUTABLE,
    MUTABLE,
    ConversationUpdate,
    ConversationValues,
    etag_of,
)
from chatter_grpc.core.conversations import (
    Conversation,
    ConversationFilter,
    ConversationStatus,
    Memory,
    MemoryMode,
    ModelSettings,
)
from chatter_grpc.core.errors import (
    ConversationNotFound,
    EtagMismatch,
    FieldInvalid,
    ModelUnknown,
    RequestIdReused,
)
from chatter_grpc.core.pages import PageRequest
from chatter_grpc.core.requests import RequestKey
from tests.support.desk import Desk

OFFLINE = "chatter/offline"
FULL = ConversationValues(
    title="Title",
    description="Description",
    status=ConversationStatus.ARCHIVED,
    settings=ModelSettings(model=OFFLINE, temperature=0.5, max_tokens=10, system_prompt="Be brief."),
    memory=Memory(window=7),
    tags=("b", "a"),
    metadata={"k": "v"},
)
# What each path of an update sets: the conversation's field, and its value from FULL and by default.
EFFECTS: dict[str, tuple[str, Any, Any]] = {
    "title": ("title", "Title", ""),
    "description": ("description", "Description", ""),
    "status": ("status", ConversationStatus.ARCHIVED, ConversationStatus.ACTIVE),
    "tags": ("tags", ("b", "a"), ()),
    "metadata": ("metadata", {"k": "v"}, {}),
    "memory": ("memory", Memory(window=7), Memory()),
    "memory.mode": ("memory.mode", MemoryMode.WINDOW, MemoryMode.WINDOW),
    "memory.window": ("memory.window", 7, 20),
    "model_settings": ("settings", FULL.settings, ModelSettings()),
    "model_settings.model": ("settings.model", OFFLINE, None),
    "model_settings.temperature": ("settings.temperature", 0.5, None),
    "model_settings.max_tokens": ("settings.max_tokens", 10, None),
    "model_settings.system_prompt": ("settings.system_prompt", "Be brief.", None),
}


def key(caller: Caller, request_id: str, payload: bytes = b"payload") -> RequestKey:
    return RequestKey(owner_id=caller.owner_id, method="/m", request_id=request_id, payload_hash=payload)


def read(conversation: Conversation, path: str) -> Any:
    value: Any = conversation
    for name in path.split("."):
        value = getattr(value, name)
    return value


def update(conversation: Conversation, values: ConversationValues, *paths: str, etag: str = "") -> ConversationUpdate:
    return ConversationUpdate(conversation_id=conversation.id, values=values, paths=paths, etag=etag)


async def test_a_new_conversation_holds_what_was_given_and_the_defaults(desk: Desk, caller: Caller) -> None:
    plain = await desk.conversations.create(caller, ConversationValues(), None)
    full = await desk.conversations.create(caller, replace(FULL, status=ConversationStatus.ACTIVE), None)
    assert await desk.conversations.get(caller, plain.id) == plain
    assert await desk.conversations.get(caller, full.id) == full
    assert (plain.status, plain.memory, plain.settings) == (ConversationStatus.ACTIVE, Memory(), ModelSettings())
    assert (full.title, full.settings, full.tags, full.metadata) == ("Title", FULL.settings, ("b", "a"), {"k": "v"})
    assert plain.id.startswith("conv_")


async def test_equal_tags_are_kept_once_in_their_order(desk: Desk, caller: Caller) -> None:
    made = await desk.conversations.create(caller, ConversationValues(tags=("b", "a", "b")), None)
    assert made.tags == ("b", "a")
    changed = await desk.conversations.update(
        caller, update(made, ConversationValues(tags=("c", "a", "c", "a")), "tags"), None
    )
    assert (await desk.conversations.get(caller, made.id)).tags == changed.tags == ("c", "a")


async def test_a_model_that_nobody_offers_is_refused(desk: Desk, caller: Caller) -> None:
    values = ConversationValues(settings=ModelSettings(model="openai/gpt-0"))
    with pytest.raises(ModelUnknown):
        await desk.conversations.create(caller, values, key(caller, "1"))
    made = await desk.conversations.create(caller, ConversationValues(), key(caller, "1"))
    with pytest.raises(ModelUnknown):
        await desk.conversations.update(caller, update(made, values, "model_settings"), None)
    assert await desk.conversations.get(caller, made.id) == made


async def test_a_window_without_a_memory_that_is_one_is_refused(desk: Desk, caller: Caller) -> None:
    without = ConversationValues(memory=Memory(mode=MemoryMode.OFF, window=5))
    with pytest.raises(FieldInvalid) as refused:
        await desk.conversations.create(caller, without, None)
    assert refused.value.violations[0].field == "memory.window"
    made = await desk.conversations.create(caller, ConversationValues(memory=Memory(mode=MemoryMode.OFF)), None)
    with pytest.raises(FieldInvalid) as refused:
        await desk.conversations.update(caller, update(made, FULL, "memory.window"), None)
    assert refused.value.violations[0].field == "conversation.memory.window"


async def test_turning_memory_off_forgets_its_window(desk: Desk, caller: Caller) -> None:
    made = await desk.conversations.create(caller, FULL, None)
    off = ConversationValues(memory=Memory(mode=MemoryMode.OFF))
    assert (await desk.conversations.update(caller, update(made, off, "memory.mode"), None)).memory == off.memory


async def test_a_repeated_create_gives_the_conversation_as_it_is_now(desk: Desk, caller: Caller) -> None:
    first = await desk.conversations.create(caller, FULL, key(caller, "1"))
    changed = await desk.conversations.update(caller, update(first, ConversationValues(title="New"), "title"), None)
    assert await desk.conversations.create(caller, FULL, key(caller, "1")) == changed
    page = await desk.conversations.list(caller, ConversationFilter(), PageRequest())
    assert page.items == (changed,)


async def test_a_request_id_belongs_to_one_payload_and_one_owner(desk: Desk, caller: Caller, stranger: Caller) -> None:
    first = await desk.conversations.create(caller, FULL, key(caller, "1"))
    with pytest.raises(RequestIdReused):
        await desk.conversations.create(caller, FULL, key(caller, "1", b"other"))
    assert (await desk.conversations.create(stranger, FULL, key(stranger, "1"))).id != first.id


def test_every_path_that_may_be_set_has_its_effect_below() -> None:
    assert EFFECTS.keys() == MUTABLE


@pytest.mark.platform("T9")
@pytest.mark.parametrize("path", sorted(EFFECTS))
async def test_a_path_sets_its_field_and_no_other(desk: Desk, caller: Caller, path: str) -> None:
    """T9: every field that an update names has an effect, and one that is not set goes back to its default."""
    where, value, default = EFFECTS[path]
    made = await desk.conversations.create(caller, ConversationValues(memory=Memory(window=9)), None)
    changed = await desk.conversations.update(caller, update(made, FULL, path), None)
    assert read(changed, where) == value
    assert await desk.conversations.get(caller, made.id) == changed
    for other, (elsewhere, _, _) in EFFECTS.items():
        if not other.startswith(path) and not path.startswith(f"{other}."):
            assert read(changed, elsewhere) == read(made, elsewhere), other
    back = await desk.conversations.update(caller, update(made, ConversationValues(), path), None)
    assert read(back, where) == default


@pytest.mark.parametrize("path", [*sorted(IMMUTABLE), "*", "", "owner_id", "memory.size", "Title", "title.x"])
async def test_a_path_that_cannot_be_set_is_refused_and_nothing_changes(desk: Desk, caller: Caller, path: str) -> None:
    made = await desk.conversations.create(caller, ConversationValues(), None)
    with pytest.raises(FieldInvalid) as refused:
        await desk.conversations.update(caller, update(made, FULL, "title", path), None)
    assert [violation.field for violation in refused.value.violations] == ["update_mask.paths[1]"]
    assert await desk.conversations.get(caller, made.id) == made


@pytest.mark.parametrize("paths", [(), ("title",) * 51])
async def test_a_mask_names_some_fields_and_not_endlessly_many(
    desk: Desk, caller: Caller, paths: tuple[str, ...]
) -> None:
    made = await desk.conversations.create(caller, ConversationValues(), None)
    with pytest.raises(FieldInvalid, match="fields break their rules"):
        await desk.conversations.update(caller, update(made, FULL, *paths), None)


async def test_an_etag_guards_against_changes_in_between(desk: Desk, caller: Caller) -> None:
    made = await desk.conversations.create(caller, ConversationValues(), None)
    changed = await desk.conversations.update(caller, update(made, FULL, "title", etag=etag_of(made)), None)
    assert etag_of(changed) != etag_of(made)
    with pytest.raises(EtagMismatch) as refused:
        await desk.conversations.update(caller, update(made, FULL, "tags", etag=etag_of(made)), None)
    assert refused.value.metadata == {"etag": etag_of(changed)}
    with pytest.raises(EtagMismatch):
        await desk.conversations.delete(caller, made.id, etag_of(made))
    assert await desk.conversations.get(caller, made.id) == changed


async def test_setting_what_is_there_already_changes_nothing(desk: Desk, caller: Caller) -> None:
    made = await desk.conversations.create(caller, FULL, None)
    assert await desk.conversations.update(caller, update(made, FULL, *MUTABLE), None) == made


async def test_a_repeated_update_changes_nothing_more(desk: Desk, caller: Caller) -> None:
    made = await desk.conversations.create(caller, ConversationValues(), None)
    first = update(made, ConversationValues(title="first"), "title", etag=etag_of(made))
    await desk.conversations.update(caller, first, key(caller, "1"))
    second = await desk.conversations.update(
        caller, update(made, ConversationValues(title="second"), "title"), key(caller, "2")
    )
    assert await desk.conversations.update(caller, first, key(caller, "1")) == second
    with pytest.raises(RequestIdReused):
        await desk.conversations.update(caller, first, key(caller, "1", b"other"))
    assert (await desk.conversations.get(caller, made.id)).title == "second"


async def test_a_deleted_conversation_is_gone_and_has_a_purge_time(desk: Desk, caller: Caller) -> None:
    made = await desk.conversations.create(caller, FULL, key(caller, "1"))
    deleted = await desk.conversations.delete(caller, made.id, etag_of(made))
    assert deleted.deleted_at is not None
    assert deleted.purge_at == deleted.deleted_at + timedelta(days=30)
    for work in (
        desk.conversations.get(caller, made.id),
        desk.conversations.update(caller, update(made, FULL, "title"), None),
        desk.conversations.delete(caller, made.id),
        desk.conversations.create(caller, FULL, key(caller, "1")),
    ):
        with pytest.raises(ConversationNotFound):
            await work
    assert (await desk.conversations.list(caller, ConversationFilter(), PageRequest())).items == ()
    assert desk.cancelled == []


@pytest.mark.platform("T1")
async def test_a_foreign_conversation_is_not_there(desk: Desk, caller: Caller, stranger: Caller) -> None:
    """T1: neither read, listed, changed nor deleted by another."""
    made = await desk.conversations.create(caller, FULL, None)
    for work in (
        desk.conversations.get(stranger, made.id),
        desk.conversations.update(stranger, update(made, FULL, "title"), None),
        desk.conversations.delete(stranger, made.id),
    ):
        with pytest.raises(ConversationNotFound):
            await work
    assert (await desk.conversations.list(stranger, ConversationFilter(), PageRequest())).items == ()
    assert await desk.conversations.get(caller, made.id) == made
