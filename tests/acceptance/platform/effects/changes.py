"""What each field of the requests does that bring conversations back, fork them, and delete and rate messages."""

from collections.abc import Mapping
from typing import Any, Final

from chatter_grpc._gen.chatter.v1 import message_pb2
from tests.acceptance.platform.effects.site import Effect, Site, contents
from tests.support.served import written


async def brings_it_back(site: Site) -> None:
    one, two = [await site.client.conversation(title=title) for title in ("one", "two")]
    await site.said_before(one.id, "Hello")
    for each in (one, two):
        await site.client.ok("DeleteConversation", conversation_id=each.id)
    back = (await site.client.ok("UndeleteConversation", conversation_id=one.id)).conversation
    assert await site.listed() == ["one"]
    assert [back.HasField(each) for each in ("delete_time", "purge_time")] == [False, False]
    assert contents(await site.asked(one.id, "Again")) == ["Hello", "You said: Hello", "Again"]
    again = (await site.client.ok("UndeleteConversation", conversation_id=one.id)).conversation
    assert again.etag == back.etag


async def guards_the_return(site: Site) -> None:
    made = await site.client.conversation()
    gone = (await site.client.ok("DeleteConversation", conversation_id=made.id)).conversation
    refused = await site.client.reason("UndeleteConversation", conversation_id=made.id, etag=made.etag)
    assert refused == "ETAG_MISMATCH"
    await site.client.ok("UndeleteConversation", conversation_id=made.id, etag=gone.etag)


async def talk(site: Site, **settings: Any) -> tuple[Any, list[Any]]:
    """Make a conversation of four messages, and return both."""
    made = await site.client.conversation(**settings)
    await site.said_before(made.id, "one", "two")
    return made, await site.client.messages(made.id)


async def forks_at_the_message(site: Site) -> None:
    settings = {"max_tokens": 7, "model": "openai/priced"}
    made, said = await talk(site, title="Old", tags=["a"], metadata={"k": "v"}, model_settings=settings)
    fork = (await site.client.ok("ForkConversation", message_id=said[1].id)).conversation
    copies = await site.client.messages(fork.id)
    assert [copy.copied_from for copy in copies] == [said[0].id, said[1].id]
    assert [copy.text_sha256 for copy in copies] == [each.text_sha256 for each in said[:2]]
    assert (fork.title, fork.tags, fork.metadata, fork.message_count) == ("Old", ["a"], {"k": "v"}, 2)
    assert fork.model_settings == made.model_settings
    # What was spent is counted once; what is said from here on is said with what was copied.
    assert (fork.usage.input_tokens, fork.usage.cost_micros) == (0, 0)
    assert not any(copy.HasField("usage") for copy in copies)
    assert contents(await site.asked(fork.id, "three")) == ["one", "You said: one", "three"]
    assert await site.client.messages(made.id) == said


async def forks_once(site: Site) -> None:
    _, said = await talk(site)
    asked = {"message_id": said[0].id, "request_id": "fork-once"}
    forks = [(await site.client.ok("ForkConversation", **asked)).conversation for _ in range(2)]
    assert forks[0] == forks[1]
    assert len(await site.listed()) == 2
    other = {"message_id": said[1].id, "request_id": "fork-once"}
    assert await site.client.reason("ForkConversation", **other) == "REQUEST_ID_REUSED"


async def names_the_fork(site: Site) -> None:
    _, said = await talk(site, title="Old")
    await site.client.ok("ForkConversation", message_id=said[0].id, title="New")
    assert sorted(await site.listed()) == ["New", "Old"]


async def deletes_the_message(site: Site) -> None:
    made, said = await talk(site)
    await site.client.ok("DeleteMessage", message_id=said[1].id)
    assert [each.id for each in await site.client.messages(made.id)] == [said[0].id, said[2].id, said[3].id]
    assert await site.client.reason("GetMessage", message_id=said[1].id) == "MESSAGE_NOT_FOUND"
    assert (await site.client.ok("GetConversation", conversation_id=made.id)).conversation.message_count == 3
    assert contents(await site.asked(made.id, "three")) == ["one", "two", "You said: two", "three"]
    gate = site.provider.hold(after=1, text="a long answer")
    stream = await site.client.send(made.id, "four").until(written(1))
    busy = stream.events[0].run_started.user_message_id
    assert await site.client.reason("DeleteMessage", message_id=busy) == "MESSAGE_BUSY"
    gate.open()
    await stream.to_end()
    await site.client.ok("DeleteMessage", message_id=busy)


async def rate(site: Site, message_id: str, **fields: Any) -> message_pb2.MessageRating:
    """Rate a message, and return the rating as it is read then."""
    rated = (await site.client.ok("RateMessage", message_id=message_id, **fields)).message
    found: message_pb2.Message = (await site.client.ok("GetMessage", message_id=message_id)).message
    assert rated == found
    return found.rating


async def rates_the_message(site: Site) -> None:
    _, said = await talk(site)
    assert (await rate(site, said[1].id, rating=4)).rating == 4
    assert not (await site.client.ok("GetMessage", message_id=said[3].id)).message.HasField("rating")
    assert await site.client.reason("RateMessage", message_id=said[0].id, rating=4) == "MESSAGE_NOT_RATABLE"


async def is_the_rating(site: Site) -> None:
    _, said = await talk(site)
    for value in (1, 5):
        rating = await rate(site, said[1].id, rating=value)
        assert (rating.rating, rating.HasField("rate_time")) == (value, True)
    assert await rate(site, said[1].id, rating=0) == message_pb2.MessageRating()
    for value in (-1, 6):
        assert await site.client.reason("RateMessage", message_id=said[1].id, rating=value) == "FIELD_INVALID"


async def is_kept_with_the_rating(site: Site) -> None:
    _, said = await talk(site)
    assert (await rate(site, said[1].id, rating=1, comment="Wrong.")).comment == "Wrong."
    assert (await rate(site, said[1].id, rating=1)).comment == ""
    assert await site.client.reason("RateMessage", message_id=said[1].id, comment="Wrong.") == "FIELD_INVALID"


EFFECTS: Final[Mapping[str, Effect]] = {
    "UndeleteConversation.conversation_id": brings_it_back,
    "UndeleteConversation.etag": guards_the_return,
    "ForkConversation.request_id": forks_once,
    "ForkConversation.message_id": forks_at_the_message,
    "ForkConversation.title": names_the_fork,
    "DeleteMessage.message_id": deletes_the_message,
    "RateMessage.message_id": rates_the_message,
    "RateMessage.rating": is_the_rating,
    "RateMessage.comment": is_kept_with_the_rating,
}
