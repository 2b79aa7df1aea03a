"""What each field of the requests that search does."""

from collections.abc import Mapping
from typing import Any, Final

from chatter_grpc._gen.chatter.v1 import content_pb2, conversation_pb2
from tests.acceptance.platform.effects.site import Effect, Site


async def talk(site: Site, *texts: str) -> str:
    """Send messages, which are answered with `You said: ...`, and return their conversation's id."""
    conversation_id = (await site.client.conversation(title=f"On {texts[0]}")).id
    await site.said_before(conversation_id, *texts)
    return str(conversation_id)


async def snippets(site: Site, **fields: Any) -> tuple[list[str], str]:
    """The snippets of a page of messages that were found, and the token of the next page."""
    page = await site.client.ok("SearchMessages", **fields)
    return [each.snippet for each in page.matches], page.next_page_token


async def titles(site: Site, **fields: Any) -> tuple[list[str], str]:
    """The titles of a page of conversations that were found, and the token of the next page."""
    page = await site.client.ok("SearchConversations", **fields)
    return [each.title for each in page.conversations], page.next_page_token


async def says_what_to_find(site: Site) -> None:
    conversation_id = await talk(site, "Red houses, greener gardens")
    page = await site.client.ok("SearchMessages", query='"greener gardens" -said')
    (found,) = page.matches
    message, answer = await site.client.messages(conversation_id)
    assert (found.message_id, found.conversation_id, found.index) == (message.id, conversation_id, 1)
    assert (found.role, found.create_time) == (content_pb2.ROLE_USER, message.create_time)
    assert [found.snippet[span.start : span.end] for span in found.spans] == ["greener gardens"]
    assert await snippets(site, query="HOUS* said") == ([answer.parts[0].text.text], "")
    for query, reason in (("", "FIELD_INVALID"), ("-red", "SEARCH_QUERY_EMPTY")):
        assert await site.client.reason("SearchMessages", query=query) == reason


async def bounds_the_page(site: Site) -> None:
    await talk(site, "garden one", "garden two")
    sizes = (1, 3, 4, 0, 9999)
    assert [len((await snippets(site, query="garden", page_size=size))[0]) for size in sizes] == [1, 3, 4, 4, 4]


async def continues_the_list(site: Site) -> None:
    await talk(site, "garden one", "garden two")
    first, token = await snippets(site, query="garden", page_size=3)
    assert first == ["You said: garden two", "garden two", "You said: garden one"]
    assert await snippets(site, query="garden", page_token=token) == (["garden one"], "")
    assert await site.client.reason("SearchMessages", query="garde*", page_token=token) == "PAGE_TOKEN_INVALID"


async def chooses_the_conversation(site: Site) -> None:
    ids = [await talk(site, "garden one"), await talk(site, "garden two")]
    for conversation_id, text in zip(ids, ("garden one", "garden two"), strict=True):
        found = await snippets(site, query="garden", conversation_id=conversation_id)
        assert found == ([f"You said: {text}", text], "")


async def chooses_the_role(site: Site) -> None:
    await talk(site, "garden")
    roles = {content_pb2.ROLE_USER: ["garden"], content_pb2.ROLE_ASSISTANT: ["You said: garden"]}
    for role, expected in roles.items():
        assert await snippets(site, query="garden", role=role) == (expected, "")
    assert await site.client.reason("SearchMessages", query="garden", role=99) == "FIELD_INVALID"


async def make_conversations(site: Site) -> None:
    """Make conversations that hold a word in their titles, in a description, and not at all."""
    for title, description in (("Our garden", "old"), ("House", "with a garden"), ("Garden", "new"), ("Car", "")):
        await site.client.conversation(title=title, description=description)


async def says_what_conversation_to_find(site: Site) -> None:
    await make_conversations(site)
    assert await titles(site, query="garden") == (["Garden", "Our garden", "House"], "")
    assert await titles(site, query="garden house") == (["House"], "")
    assert await titles(site, query="garden -new") == (["Our garden", "House"], "")
    for query, reason in (("", "FIELD_INVALID"), ("-garden", "SEARCH_QUERY_EMPTY")):
        assert await site.client.reason("SearchConversations", query=query) == reason


async def bounds_the_page_of_conversations(site: Site) -> None:
    await make_conversations(site)
    assert [len((await titles(site, query="garden", page_size=size))[0]) for size in (1, 2, 3, 0, 9999)] == [
        1,
        2,
        3,
        3,
        3,
    ]


async def continues_the_list_of_conversations(site: Site) -> None:
    await make_conversations(site)
    first, token = await titles(site, query="garden", page_size=2)
    assert (first, await titles(site, query="garden", page_token=token)) == (["Garden", "Our garden"], (["House"], ""))


async def chooses_the_status(site: Site) -> None:
    kept = await site.client.conversation(title="garden kept")
    away = await site.client.conversation(title="garden away")
    archived = conversation_pb2.CONVERSATION_STATUS_ARCHIVED
    await site.updated(away.id, "status", status=archived)
    for status, found in ((kept.status, ["garden kept"]), (archived, ["garden away"])):
        assert await titles(site, query="garden", status=status) == (found, "")
    assert await site.client.reason("SearchConversations", query="garden", status=99) == "FIELD_INVALID"


EFFECTS: Final[Mapping[str, Effect]] = {
    "SearchMessages.page_size": bounds_the_page,
    "SearchMessages.page_token": continues_the_list,
    "SearchMessages.query": says_what_to_find,
    "SearchMessages.conversation_id": chooses_the_conversation,
    "SearchMessages.role": chooses_the_role,
    "SearchConversations.page_size": bounds_the_page_of_conversations,
    "SearchConversations.page_token": continues_the_list_of_conversations,
    "SearchConversations.query": says_what_conversation_to_find,
    "SearchConversations.status": chooses_the_status,
}
