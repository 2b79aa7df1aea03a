"""What each field of the requests that start runs does, where no message is streamed back or none is sent."""

from collections.abc import Mapping
from typing import Any, Final

from chatter_grpc._gen.chatter.v1 import content_pb2, run_pb2
from tests.acceptance.platform.effects.conversations import SETTINGS
from tests.acceptance.platform.effects.messages import end_of
from tests.acceptance.platform.effects.site import Effect, Site, contents
from tests.support.served import Stream, message, written


async def queue(site: Site, conversation_id: str, text: str = "Hello", **fields: Any) -> Any:
    """Create a run and return it, which is not awaited."""
    return (await site.client.ok("CreateRun", **message(conversation_id, text, **fields))).run


async def done(site: Site, conversation_id: str, text: str = "Hello", **fields: Any) -> dict[str, Any]:
    """Create a run, and return what the provider was sent for it."""
    run = await queue(site, conversation_id, text, **fields)
    assert await end_of(site, run.id) == run_pb2.RUN_STATE_COMPLETED
    return site.provider.calls[-1].body


async def again(site: Site, message_id: str, **fields: Any) -> Stream:
    """Have an answer made again, and read its run to the end."""
    request_id = message("", "")["request_id"]
    stream = site.client.open("RegenerateMessage", **{"request_id": request_id, "message_id": message_id, **fields})
    answer = await stream.to_end()
    assert (answer.reason, stream.fold.end) == ("", "completed")
    return stream


async def refusal(site: Site, message_id: str, **fields: Any) -> str:
    request_id = message("", "")["request_id"]
    return await site.client.reason("RegenerateMessage", request_id=request_id, message_id=message_id, **fields)


async def said(site: Site, **fields: Any) -> tuple[str, str, str]:
    """Make a conversation with one exchange; return its id, and those of the question and the answer."""
    made = await site.client.conversation(**fields)
    await site.answered(made.id)
    question, answer = await site.client.messages(made.id)
    return made.id, question.id, answer.id


async def creates_once(site: Site) -> None:
    place = (await site.client.conversation()).id
    first, second = [await queue(site, place, request_id="once") for _ in range(2)]
    assert first.id == second.id
    assert await end_of(site, first.id) == run_pb2.RUN_STATE_COMPLETED
    assert len(site.provider.calls) == 1
    changed = message(place, "Another", request_id="once")
    assert await site.client.reason("CreateRun", **changed) == "REQUEST_ID_REUSED"


async def says_where(site: Site) -> None:
    one, two = [(await site.client.conversation()).id for _ in range(2)]
    run = await queue(site, two)
    await end_of(site, run.id)
    assert run.conversation_id == two
    assert [len(await site.client.messages(each)) for each in (one, two)] == [0, 2]


async def is_said(site: Site) -> None:
    place = (await site.client.conversation()).id
    parts = [content_pb2.ContentPart(text=content_pb2.TextPart(text=text)) for text in ("One ", "two")]
    assert contents(await done(site, place, "", parts=parts)) == ["One two"]
    stored, _ = await site.client.messages(place)
    assert list(stored.parts) == parts


async def chooses_a_workflow(site: Site) -> None:
    place = (await site.client.conversation()).id
    run = await queue(site, place, kind=run_pb2.WORKFLOW_KIND_PLAIN)
    assert run.kind == run_pb2.WORKFLOW_KIND_PLAIN
    await end_of(site, run.id)
    for kind in (run_pb2.WORKFLOW_KIND_UNSPECIFIED, 99):
        assert await site.client.reason("CreateRun", **message(place, "Hi", kind=kind)) == "FIELD_INVALID"


async def names_a_workflow(site: Site) -> None:
    place = (await site.client.conversation()).id
    asked = message(place, "Hi", workflow_id="wf_none")
    assert await site.client.reason("CreateRun", **asked) == "WORKFLOW_NOT_FOUND"
    assert await site.client.messages(place) == []


def overrides(setting: str) -> Effect:
    """For one run the call goes before the conversation, however it is started."""
    value, read = SETTINGS[setting]
    other = {"model": "openai/priced", "temperature": 1.5, "max_tokens": 3, "system_prompt": "Be brief."}[setting]

    async def effect(site: Site) -> None:
        made = await site.client.conversation(model_settings={setting: other}, memory={"mode": 1})
        assert read(await done(site, made.id, overrides={setting: value})) == value
        assert read(await done(site, made.id)) == other

    return effect


def overrides_again(setting: str) -> Effect:
    """For one run the call goes before the conversation, and what was said of the run before counts no more."""
    value, read = SETTINGS[setting]
    other = {"model": "openai/priced", "temperature": 1.5, "max_tokens": 3, "system_prompt": "Be brief."}[setting]

    async def effect(site: Site) -> None:
        place, question, _ = await said(site, model_settings={setting: other})
        assert place
        for given, expected in (({"overrides": {setting: value}}, value), ({}, other)):
            await again(site, question, **given)
            assert read(site.provider.calls[-1].body) == expected

    return effect


async def regenerates_once(site: Site) -> None:
    _, question, _ = await said(site)
    first, second = [await again(site, question, request_id="again") for _ in range(2)]
    assert (first.run_id, first.fold.stored) == (second.run_id, second.fold.stored)
    assert len(site.provider.calls) == 2
    reused = {"request_id": "again", "message_id": question, "overrides": {"max_tokens": 1}}
    assert await site.client.reason("RegenerateMessage", **reused) == "REQUEST_ID_REUSED"


async def chooses_what_is_answered_again(site: Site) -> None:
    place, question, answer = await said(site)
    for named in (answer, question):
        stream = await again(site, named)
        run = await site.client.run(stream.run_id)
        assert (run.user_message_id, run.regeneration) == (question, True)
        assert [each.id for each in await site.client.messages(place)] == [question, *stream.fold.stored]
    first = (await site.client.ok("GetMessage", message_id=answer)).message
    assert first.replaced_by_run_id
    await site.answered(place, "And then?")
    assert await refusal(site, answer) == "MESSAGE_NOT_LAST"


async def chooses_a_workflow_again(site: Site) -> None:
    _, question, _ = await said(site)
    stream = await again(site, question, kind=run_pb2.WORKFLOW_KIND_PLAIN)
    assert (await site.client.run(stream.run_id)).kind == run_pb2.WORKFLOW_KIND_PLAIN
    for kind in (run_pb2.WORKFLOW_KIND_UNSPECIFIED, 99):
        assert await refusal(site, question, kind=kind) == "FIELD_INVALID"


async def names_a_workflow_again(site: Site) -> None:
    _, question, _ = await said(site)
    assert await refusal(site, question, workflow_id="wf_none") == "WORKFLOW_NOT_FOUND"


async def decides_over_the_run(site: Site) -> None:
    ends = {}
    for choice in run_pb2.OnDisconnect.values():
        _, question, _ = await said(site)
        gate = site.provider.hold(after=2, text="one two three")
        fields = {"request_id": message("", "")["request_id"], "message_id": question, "on_disconnect": choice}
        stream = await site.client.open("RegenerateMessage", **fields).until(written(2))
        stream.leave()
        call = site.provider.calls[-1]
        if choice == run_pb2.ON_DISCONNECT_CANCEL:
            await site.provider.closed(call)
        gate.open()
        ends[choice] = await end_of(site, stream.run_id)
    cancelled, completed = run_pb2.RUN_STATE_CANCELLED, run_pb2.RUN_STATE_COMPLETED
    assert list(ends.values()) == [completed, completed, cancelled]


async def shows_what_was_replaced(site: Site) -> None:
    place, question, answer = await said(site)
    (new,) = (await again(site, question)).fold.stored
    found = {
        shown: [
            each.id
            for each in (await site.client.ok("ListMessages", conversation_id=place, include_replaced=shown)).messages
        ]
        for shown in (False, True)
    }
    assert found == {False: [question, new], True: [question, answer, new]}


EFFECTS: Final[Mapping[str, Effect]] = {
    "CreateRun.request_id": creates_once,
    "CreateRun.conversation_id": says_where,
    "CreateRun.parts.text.text": is_said,
    "CreateRun.kind": chooses_a_workflow,
    "CreateRun.workflow_id": names_a_workflow,
    **{f"CreateRun.overrides.{setting}": overrides(setting) for setting in SETTINGS},
    "RegenerateMessage.request_id": regenerates_once,
    "RegenerateMessage.message_id": chooses_what_is_answered_again,
    "RegenerateMessage.kind": chooses_a_workflow_again,
    "RegenerateMessage.workflow_id": names_a_workflow_again,
    **{f"RegenerateMessage.overrides.{setting}": overrides_again(setting) for setting in SETTINGS},
    "RegenerateMessage.on_disconnect": decides_over_the_run,
    "ListMessages.include_replaced": shows_what_was_replaced,
}
