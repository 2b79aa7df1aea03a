"""What each field of the requests on conversations does, their settings for what the provider is sent included."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from chatter_grpc._gen.chatter.v1 import chat_service_pb2, conversation_pb2
from tests.acceptance.platform.effects.site import Effect, Site, contents

ACTIVE, ARCHIVED = conversation_pb2.CONVERSATION_STATUS_ACTIVE, conversation_pb2.CONVERSATION_STATUS_ARCHIVED
OFF, WINDOW = conversation_pb2.MEMORY_MODE_OFF, conversation_pb2.MEMORY_MODE_WINDOW

# How settings arrive at the provider: the setting, its value, and where that is in the provider's request.
SETTINGS: Final[Mapping[str, tuple[Any, Callable[[dict[str, Any]], Any]]]] = {
    "model": ("openai/other", lambda body: f"openai/{body['model']}"),
    "temperature": (0.25, lambda body: body["temperature"]),
    "max_tokens": (2, lambda body: body["max_tokens"]),
    "system_prompt": ("Answer as Ada would.", lambda body: body["messages"][0]["content"]),
}
# Fields of a conversation that only the server sets, with values that it would not set.
OUTPUT: Final = {
    "message_count": 99,
    "usage.input_tokens": 99,
    "usage.output_tokens": 99,
    "usage.cost_micros": 99,
    "usage.estimated": True,
    "create_time": {"seconds": 99},
    "update_time": {"seconds": 99},
    "last_message_time": {"seconds": 99},
    "delete_time": {"seconds": 99},
    "purge_time": {"seconds": 99},
}


def comes_back(field: str, value: Any) -> Effect:
    """The value that a conversation is made with is the one that it has."""

    async def effect(site: Site) -> None:
        made = await site.client.conversation(**{field: value})
        found = (await site.client.ok("GetConversation", conversation_id=made.id)).conversation
        assert getattr(found, field) == getattr(made, field) == value

    return effect


def is_set_by_an_update(field: str, value: Any) -> Effect:
    """The value is taken over, and one that is named and not set goes back to its default."""

    async def effect(site: Site) -> None:
        made = await site.client.conversation()
        changed = await site.updated(made.id, field, **{field: value})
        assert getattr(changed, field) == value
        assert changed.etag != made.etag
        assert getattr(await site.updated(made.id, field), field) == getattr(made, field)

    return effect


def reaches_the_provider(setting: str) -> Effect:
    """A conversation is made with a setting: the provider is asked accordingly, and differently without it."""
    value, read = SETTINGS[setting]

    async def effect(site: Site) -> None:
        plain = await site.asked((await site.client.conversation()).id)
        made = await site.client.conversation(model_settings={setting: value})
        body = await site.asked(made.id)
        assert read(body) == value
        assert body != plain

    return effect


def reaches_the_provider_after_an_update(setting: str) -> Effect:
    """A conversation's setting is changed and taken back: the provider is asked accordingly each time."""
    value, read = SETTINGS[setting]

    async def effect(site: Site) -> None:
        conversation_id = (await site.client.conversation(memory={"mode": OFF})).id
        before = await site.asked(conversation_id)
        path = f"model_settings.{setting}"
        await site.updated(conversation_id, path, model_settings={setting: value})
        assert read(await site.asked(conversation_id)) == value
        await site.updated(conversation_id, path)
        assert await site.asked(conversation_id) == before

    return effect


async def hides_the_past(site: Site) -> None:
    forgetful = await site.client.conversation(memory={"mode": OFF})
    mindful = await site.client.conversation(memory={"mode": WINDOW})
    for conversation_id in (forgetful.id, mindful.id):
        await site.said_before(conversation_id, "one")
    assert contents(await site.asked(forgetful.id, "two")) == ["two"]
    assert contents(await site.asked(mindful.id, "two")) == ["one", "You said: one", "two"]


async def hides_the_past_after_an_update(site: Site) -> None:
    conversation_id = (await site.client.conversation()).id
    await site.said_before(conversation_id, "one")
    await site.updated(conversation_id, "memory.mode", memory={"mode": OFF})
    assert contents(await site.asked(conversation_id, "two")) == ["two"]
    await site.updated(conversation_id, "memory.mode")
    assert contents(await site.asked(conversation_id, "three"))[0] == "one"


async def bounds_the_past(site: Site) -> None:
    conversation_id = (await site.client.conversation(memory={"window": 3})).id
    await site.said_before(conversation_id, "one", "two")
    assert contents(await site.asked(conversation_id, "three")) == ["You said: one", "two", "You said: two", "three"]
    refused = {"memory": {"mode": OFF, "window": 3}}
    assert await site.client.reason("CreateConversation", **refused) == "FIELD_INVALID"


async def bounds_the_past_after_an_update(site: Site) -> None:
    conversation_id = (await site.client.conversation()).id
    await site.said_before(conversation_id, "one", "two")
    await site.updated(conversation_id, "memory.window", memory={"window": 1})
    assert contents(await site.asked(conversation_id, "three")) == ["You said: two", "three"]


async def makes_once(site: Site) -> None:
    asked = {"request_id": "once", "title": "one"}
    first, second = [await site.client.conversation(**asked) for _ in range(2)]
    assert first == second
    assert await site.client.reason("CreateConversation", **{**asked, "title": "two"}) == "REQUEST_ID_REUSED"
    assert await site.listed() == ["one"]


async def changes_once(site: Site) -> None:
    made = await site.client.conversation(title="one")

    async def retitle(title: str, request_id: str) -> str:
        fields = {"conversation": {"id": made.id, "title": title}, "update_mask": {"paths": ["title"]}}
        return await site.client.reason("UpdateConversation", request_id=request_id, **fields)

    assert [await retitle("two", "a"), await retitle("three", "b"), await retitle("two", "a")] == ["", "", ""]
    assert await site.listed() == ["three"]
    assert await retitle("four", "a") == "REQUEST_ID_REUSED"


def chooses_the_conversation(method: str) -> Effect:
    """The conversation that is named is the one that is meant."""

    async def effect(site: Site) -> None:
        one, two = [await site.client.conversation(title=title) for title in ("one", "two")]
        given: dict[str, Any] = {"conversation_id": two.id}
        if method == "UpdateConversation":
            given = {"conversation": {"id": two.id}, "update_mask": {"paths": ["tags"]}}
        assert (await site.client.ok(method, **given)).conversation.id == two.id
        assert (await site.client.ok("GetConversation", conversation_id=one.id)).conversation == one
        if method == "DeleteConversation":
            assert await site.client.reason("GetConversation", conversation_id=two.id) == "CONVERSATION_NOT_FOUND"

    return effect


async def guards_a_change(site: Site) -> None:
    made = await site.client.conversation(title="one")
    await site.updated(made.id, "title", title="two")
    stale = {"id": made.id, "title": "three", "etag": made.etag}
    mask = {"paths": ["title"]}
    assert await site.client.reason("UpdateConversation", conversation=stale, update_mask=mask) == "ETAG_MISMATCH"
    (now,) = (await site.client.ok("ListConversations")).conversations
    assert now.title == "two"
    fresh = {**stale, "etag": now.etag}
    assert await site.client.reason("UpdateConversation", conversation=fresh, update_mask=mask) == ""


async def guards_a_deletion(site: Site) -> None:
    made = await site.client.conversation()
    changed = await site.updated(made.id, "title", title="two")
    delete = {"conversation_id": made.id}
    assert await site.client.reason("DeleteConversation", **delete, etag=made.etag) == "ETAG_MISMATCH"
    assert await site.client.reason("DeleteConversation", **delete, etag=changed.etag) == ""


async def says_what_is_read(site: Site) -> None:
    made = await site.client.conversation(title="one", description="kept")
    changed = await site.updated(made.id, "title", title="two", description="not read")
    assert (changed.title, changed.description) == ("two", "kept")
    for paths in ([], ["no_such_field"], ["title", "owner_id"], ["memory.mode.more"]):
        fields = {"conversation": {"id": made.id}, "update_mask": {"paths": paths}}
        assert await site.client.reason("UpdateConversation", **fields) == "FIELD_INVALID", paths


def cannot_be_set(path: str) -> Effect:
    """To name a field that only the server sets is refused; what is sent of it without naming it is not read."""
    name, _, part = path.partition(".")
    value = {part: OUTPUT[path]} if part else OUTPUT[path]

    async def effect(site: Site) -> None:
        made = await site.client.conversation()
        for named in {name, path}:
            fields = {"conversation": {"id": made.id, name: value}, "update_mask": {"paths": [named]}}
            refused = await site.client.call("UpdateConversation", **fields)
            assert (refused.reason, list(refused.fields)) == ("FIELD_INVALID", ["update_mask.paths[0]"])
        changed = await site.updated(made.id, "title", **{name: value}, title="two")
        for field in made.DESCRIPTOR.fields:
            if field.name not in {"title", "update_time", "etag"}:
                assert getattr(changed, field.name) == getattr(made, field.name)
        assert changed.update_time.seconds != 99

    return effect


async def closes_the_conversation(site: Site) -> None:
    made = await site.client.conversation()
    assert (await site.updated(made.id, "status", status=ARCHIVED)).status == ARCHIVED
    assert (await site.client.send(made.id, "Hello").to_end()).reason == "CONVERSATION_ARCHIVED"
    assert (await site.updated(made.id, "status", status=ACTIVE)).status == ACTIVE
    await site.answered(made.id)


async def bounds_the_page(site: Site) -> None:
    for title in "abc":
        await site.client.conversation(title=title)
    assert [len(await site.listed(page_size=size)) for size in (1, 2, 3, 0, 9999)] == [1, 2, 3, 3, 3]
    assert await site.client.reason("ListConversations", page_size=-1) == "FIELD_INVALID"


async def continues_the_list(site: Site) -> None:
    for title in "abc":
        await site.client.conversation(title=title)
    first = await site.client.ok("ListConversations", page_size=2)
    second = await site.client.ok("ListConversations", page_size=2, page_token=first.next_page_token)
    assert ([each.title for each in first.conversations], await site.listed(page_token="")) == (["c", "b"], [*"cba"])
    assert ([each.title for each in second.conversations], second.next_page_token) == (["a"], "")
    assert await site.client.reason("ListConversations", page_token="forged") == "PAGE_TOKEN_INVALID"


async def keeps_a_status(site: Site) -> None:
    open_, closed = [await site.client.conversation(title=title) for title in ("open", "closed")]
    await site.updated(closed.id, "status", status=ARCHIVED)
    assert [await site.listed(status=status) for status in (ACTIVE, ARCHIVED)] == [["open"], ["closed"]]
    assert sorted(await site.listed()) == ["closed", "open"]
    assert open_.status == ACTIVE


async def keeps_a_tag(site: Site) -> None:
    await site.client.conversation(title="one", tags=["work", "Ägypten"])
    await site.client.conversation(title="two", tags=["home"])
    assert await site.listed(tag="work") == await site.listed(tag="Ägypten") == ["one"]
    assert await site.listed(tag="wor") == []


async def keeps_what_holds_a_text(site: Site) -> None:
    await site.client.conversation(title="On the Garden")
    await site.client.conversation(title="two", description="100% of it")
    assert await site.listed(text="gArDen") == ["On the Garden"]
    assert await site.listed(text="100%") == ["two"]
    assert await site.listed(text="%") == ["two"]


async def orders_the_list(site: Site) -> None:
    made = [await site.client.conversation(title=title) for title in "bca"]
    await site.answered(made[1].id)
    orders = chat_service_pb2.ConversationOrder.values()
    assert [await site.listed(order=order) for order in orders] == [[*"cab"], [*"cab"], [*"acb"], [*"abc"]]


EFFECTS: Final[Mapping[str, Effect]] = {
    "CreateConversation.request_id": makes_once,
    "CreateConversation.title": comes_back("title", "On „Größe“ \N{SNOWMAN}"),
    "CreateConversation.description": comes_back("description", "Two\nlines"),
    "CreateConversation.tags": comes_back("tags", ["work", "Ägypten"]),
    "CreateConversation.metadata": comes_back("metadata", {"key": "value", "": ""}),
    **{f"CreateConversation.model_settings.{each}": reaches_the_provider(each) for each in SETTINGS},
    "CreateConversation.memory.mode": hides_the_past,
    "CreateConversation.memory.window": bounds_the_past,
    "GetConversation.conversation_id": chooses_the_conversation("GetConversation"),
    "ListConversations.page_size": bounds_the_page,
    "ListConversations.page_token": continues_the_list,
    "ListConversations.status": keeps_a_status,
    "ListConversations.tag": keeps_a_tag,
    "ListConversations.text": keeps_what_holds_a_text,
    "ListConversations.order": orders_the_list,
    "UpdateConversation.request_id": changes_once,
    "UpdateConversation.conversation.id": chooses_the_conversation("UpdateConversation"),
    "UpdateConversation.conversation.title": is_set_by_an_update("title", "Another"),
    "UpdateConversation.conversation.description": is_set_by_an_update("description", "Another"),
    "UpdateConversation.conversation.status": closes_the_conversation,
    "UpdateConversation.conversation.tags": is_set_by_an_update("tags", ["a", "b"]),
    "UpdateConversation.conversation.metadata": is_set_by_an_update("metadata", {"a": "b"}),
    **{
        f"UpdateConversation.conversation.model_settings.{each}": reaches_the_provider_after_an_update(each)
        for each in SETTINGS
    },
    "UpdateConversation.conversation.memory.mode": hides_the_past_after_an_update,
    "UpdateConversation.conversation.memory.window": bounds_the_past_after_an_update,
    "UpdateConversation.conversation.etag": guards_a_change,
    **{f"UpdateConversation.conversation.{path}": cannot_be_set(path) for path in OUTPUT},
    "UpdateConversation.update_mask": says_what_is_read,
    "DeleteConversation.conversation_id": chooses_the_conversation("DeleteConversation"),
    "DeleteConversation.etag": guards_a_deletion,
}
