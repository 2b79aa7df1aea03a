"""What each field of the requests on messages does."""

from collections.abc import Mapping
from typing import Any, Final

from chatter_grpc._gen.chatter.v1 import chat_service_pb2, content_pb2, run_pb2
from tests.acceptance.platform.effects.conversations import SETTINGS
from tests.acceptance.platform.effects.site import Effect, Site, contents
from tests.support.provider import eventually
from tests.support.served import message, written


async def starts_once(site: Site) -> None:
    conversation_id = (await site.client.conversation()).id
    first, second = [await site.answered(conversation_id, "Hello", request_id="once") for _ in range(2)]
    # How many deltas a frame holds differs from one reader to the next; what they fold to does not.
    assert (first.run_id, first.text, first.fold.stored) == (second.run_id, second.text, second.fold.stored)
    assert first.fold.seq == second.fold.seq
    assert len(site.provider.calls) == 1
    changed = message(conversation_id, "Another", request_id="once")
    assert await site.client.reason("SendMessage", **changed) == "REQUEST_ID_REUSED"


async def says_where(site: Site) -> None:
    one, two = [await site.client.conversation() for _ in range(2)]
    await site.answered(two.id)
    assert [len(await site.client.messages(each.id)) for each in (one, two)] == [0, 2]


async def is_said(site: Site) -> None:
    conversation_id = (await site.client.conversation()).id
    texts = ["One ", "„zwei“\x00", "\n\tthree  "]
    parts = [content_pb2.ContentPart(text=content_pb2.TextPart(text=text)) for text in (texts[0], "2", texts[2])]
    body = await site.asked(conversation_id, "", parts=parts)
    assert contents(body) == ["One 2\n\tthree  "]
    stored, _ = await site.client.messages(conversation_id)
    assert list(stored.parts) == parts
    # What would have to be changed to be stored is refused instead.
    nul = content_pb2.ContentPart(text=content_pb2.TextPart(text=texts[1]))
    assert await site.client.reason("SendMessage", **message(conversation_id, "", parts=[nul])) == "FIELD_INVALID"


async def chooses_a_workflow(site: Site) -> None:
    conversation_id = (await site.client.conversation()).id
    stream = await site.answered(conversation_id, kind=run_pb2.WORKFLOW_KIND_PLAIN)
    assert (await site.client.run(stream.run_id)).kind == run_pb2.WORKFLOW_KIND_PLAIN
    for kind in (run_pb2.WORKFLOW_KIND_UNSPECIFIED, 99):
        assert await site.client.reason("SendMessage", **message(conversation_id, "Hi", kind=kind)) == "FIELD_INVALID"


async def names_a_workflow(site: Site) -> None:
    conversation_id = (await site.client.conversation()).id
    asked = message(conversation_id, "Hi", workflow_id="wf_none")
    assert await site.client.reason("SendMessage", **asked) == "WORKFLOW_NOT_FOUND"
    assert await site.client.messages(conversation_id) == []


def overrides(setting: str) -> Effect:
    """For one run the call goes before the conversation; the next one is as the conversation says again."""
    value, read = SETTINGS[setting]
    other = {"model": "openai/priced", "temperature": 1.5, "max_tokens": 3, "system_prompt": "Be brief."}[setting]

    async def effect(site: Site) -> None:
        made = await site.client.conversation(model_settings={setting: other}, memory={"mode": 1})
        assert read(await site.asked(made.id, overrides={setting: value})) == value
        assert read(await site.asked(made.id)) == other
        if setting == "system_prompt":
            assert contents(await site.asked(made.id, "Hi", overrides={setting: ""})) == ["Hi"]
        if setting == "model":
            unknown = message(made.id, "Hi", overrides={setting: "openai/none"})
            assert await site.client.reason("SendMessage", **unknown) == "MODEL_UNKNOWN"

    return effect


async def decides_over_the_run(site: Site) -> None:
    ends = {}
    for choice in run_pb2.OnDisconnect.values():
        gate = site.provider.hold(after=2, text="one two three")
        conversation_id = (await site.client.conversation()).id
        stream = await site.client.send(conversation_id, "Hello", on_disconnect=choice).until(written(2))
        stream.leave()
        call = site.provider.calls[-1]
        if choice == run_pb2.ON_DISCONNECT_CANCEL:
            await site.provider.closed(call)
        gate.open()
        ends[choice] = await end_of(site, stream.run_id)
    cancelled, completed = run_pb2.RUN_STATE_CANCELLED, run_pb2.RUN_STATE_COMPLETED
    assert list(ends.values()) == [completed, completed, cancelled]


async def end_of(site: Site, run_id: str) -> int:
    """Return a run's state once it has ended."""

    async def has_ended() -> bool:
        state = (await site.client.run(run_id)).state
        return state not in (run_pb2.RUN_STATE_PENDING, run_pb2.RUN_STATE_RUNNING)

    await eventually(has_ended)
    return int((await site.client.run(run_id)).state)


async def talk(site: Site) -> str:
    """Make a conversation of four messages."""
    conversation_id = (await site.client.conversation()).id
    await site.said_before(conversation_id, "one", "two")
    return str(conversation_id)


async def indexes(site: Site, **fields: Any) -> tuple[list[int], str]:
    """The indexes of a page of messages, and the token of the next page."""
    page: chat_service_pb2.ListMessagesResponse = await site.client.ok("ListMessages", **fields)
    return [each.index for each in page.messages], page.next_page_token


async def bounds_the_page(site: Site) -> None:
    asked = {"conversation_id": await talk(site)}
    sizes = (1, 3, 4, 0, 9999)
    assert [len((await indexes(site, **asked, page_size=size))[0]) for size in sizes] == [1, 3, 4, 4, 4]


async def continues_the_list(site: Site) -> None:
    asked = {"conversation_id": await talk(site)}
    first, token = await indexes(site, **asked, page_size=3)
    assert (first, await indexes(site, **asked, page_token=token)) == ([1, 2, 3], ([4], ""))


async def reverses_the_list(site: Site) -> None:
    asked = {"conversation_id": await talk(site)}
    assert [(await indexes(site, **asked, newest_first=each))[0] for each in (False, True)] == [
        [1, 2, 3, 4],
        [4, 3, 2, 1],
    ]


async def chooses_the_conversation(site: Site) -> None:
    one, two = await talk(site), (await site.client.conversation()).id
    assert [(await indexes(site, conversation_id=each))[0] for each in (one, two)] == [[1, 2, 3, 4], []]


async def chooses_the_message(site: Site) -> None:
    for each in await site.client.messages(await talk(site)):
        assert (await site.client.ok("GetMessage", message_id=each.id)).message == each


EFFECTS: Final[Mapping[str, Effect]] = {
    "ListMessages.page_size": bounds_the_page,
    "ListMessages.page_token": continues_the_list,
    "ListMessages.conversation_id": chooses_the_conversation,
    "ListMessages.newest_first": reverses_the_list,
    "GetMessage.message_id": chooses_the_message,
    "SendMessage.request_id": starts_once,
    "SendMessage.conversation_id": says_where,
    "SendMessage.parts.text.text": is_said,
    "SendMessage.kind": chooses_a_workflow,
    "SendMessage.workflow_id": names_a_workflow,
    **{f"SendMessage.overrides.{setting}": overrides(setting) for setting in SETTINGS},
    "SendMessage.on_disconnect": decides_over_the_run,
}
