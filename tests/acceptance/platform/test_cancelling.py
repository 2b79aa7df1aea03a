"""A run is ended by whoever may, its provider is left at once, and what it wrote up to then is kept."""

import asyncio
import hashlib

import grpc
import pytest

from chatter_grpc._gen.chatter.v1 import run_pb2
from chatter_grpc._gen.chatter.v1.content_pb2 import FINISH_REASON_CANCELLED
from tests.support.provider import Provider, eventually
from tests.support.served import Account, Client, Served, Stream, message, written

RUNNING, COMPLETED, CANCELLED = run_pb2.RUN_STATE_RUNNING, run_pb2.RUN_STATE_COMPLETED, run_pb2.RUN_STATE_CANCELLED


async def has_ended(client: Client, run_id: str) -> int:
    """Return the state of a run once it has ended."""

    async def is_over() -> bool:
        return bool((await client.run(run_id)).state != RUNNING)

    await eventually(is_over)
    return int((await client.run(run_id)).state)


async def keeps_what_was_written(client: Client, stream: Stream, text: str) -> None:
    """Whether a cancelled run's message is stored as far as it came, and told of with its hash and its usage."""
    run = await client.run(stream.run_id)
    watched = client.open("WatchRun", run_id=stream.run_id)
    assert (await watched.to_end()).reason == ""
    assert (run.state, watched.fold.end) == (CANCELLED, "cancelled")
    ((message_id, folded),) = watched.fold.stored.items()
    stored = (await client.ok("GetMessage", message_id=message_id)).message
    assert stored.parts[0].text.text == folded == text
    assert stored.text_sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert stored.finish_reason == FINISH_REASON_CANCELLED
    assert run.usage == watched.fold.usage == stored.usage
    assert run.usage.estimated
    assert run.usage.output_tokens > 0
    assert (await client.messages(run.conversation_id))[-1] == stored


async def test_cancel_run_leaves_the_provider_and_keeps_what_was_written(ada: Account, provider: Provider) -> None:
    client, conversation = ada.client, await ada.client.conversation()
    provider.hold(after=2, text="one two three")
    stream = await client.send(conversation.id, "Hello").until(written(2))
    cancelled = (await client.ok("CancelRun", run_id=stream.run_id)).run
    # The answer comes when the run has ended, so the provider was left before.
    call = provider.calls[0]
    await provider.closed(call)
    assert not call.complete
    assert (cancelled.state, cancelled.cancel_requested) == (CANCELLED, True)
    assert (await stream.to_end()).code is grpc.StatusCode.OK
    assert stream.fold.end == "cancelled"
    await keeps_what_was_written(client, stream, "one two")
    assert (await client.ok("CancelRun", run_id=stream.run_id)).run == cancelled
    assert (await client.ask(conversation.id, "And now?")).fold.end == "completed"


async def test_a_run_is_cancelled_before_it_has_written_anything(ada: Account, provider: Provider) -> None:
    client, conversation = ada.client, await ada.client.conversation()
    provider.hold(text="never")
    stream = await client.send(conversation.id, "Hello").until(lambda stream: bool(stream.events))
    await provider.called()
    assert (await client.ok("CancelRun", run_id=stream.run_id)).run.state == CANCELLED
    await provider.closed(provider.calls[0])
    assert (await stream.to_end()).reason == ""
    assert (stream.fold.end, stream.fold.stored) == ("cancelled", {})
    assert len(await client.messages(conversation.id)) == 1


async def test_many_cancel_one_run_and_all_hear_the_same(ada: Account, provider: Provider) -> None:
    client, conversation = ada.client, await ada.client.conversation()
    provider.hold(after=1, text="one two")
    stream = await client.send(conversation.id, "Hello").until(written(1))
    answers = await asyncio.gather(*(client.call("CancelRun", run_id=stream.run_id) for _ in range(8)))
    assert {(answer.reason, *answer.responses) for answer in answers} == {("", answers[0].responses[0])}


async def test_a_run_that_is_to_end_with_its_stream_does(ada: Account, provider: Provider) -> None:
    client, conversation = ada.client, await ada.client.conversation()
    provider.hold(after=2, text="one two three")
    stream = client.send(conversation.id, "Hello", on_disconnect=run_pb2.ON_DISCONNECT_CANCEL)
    await stream.until(written(2))
    stream.leave()
    await provider.closed(provider.calls[0])
    assert not provider.calls[0].complete
    assert await has_ended(client, stream.run_id) == CANCELLED
    await keeps_what_was_written(client, stream, "one two")


@pytest.mark.parametrize("server", ["sqlite"], indirect=True)
async def test_a_run_that_is_to_end_with_its_stream_ends_at_the_deadline(ada: Account, provider: Provider) -> None:
    client, conversation = ada.client, await ada.client.conversation()
    provider.hold(after=1, text="one two")
    stream = client.send(conversation.id, "Hello", timeout=2.0, on_disconnect=run_pb2.ON_DISCONNECT_CANCEL)
    assert (await stream.to_end()).code is grpc.StatusCode.DEADLINE_EXCEEDED
    await provider.closed(provider.calls[0])
    assert await has_ended(client, stream.run_id) == CANCELLED


async def test_a_run_that_is_to_end_with_its_stream_ends_when_the_connection_is_lost(
    server: Served, ada: Account, provider: Provider
) -> None:
    conversation = await ada.client.conversation()
    provider.hold(after=1, text="one two")
    own_connection = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(server.address, options=own_connection) as channel:
        client = Client(channel=channel, metadata=ada.client.metadata)
        stream = client.send(conversation.id, "Hello", on_disconnect=run_pb2.ON_DISCONNECT_CANCEL)
        await stream.until(written(1))
    await provider.closed(provider.calls[0])
    assert await has_ended(ada.client, stream.run_id) == CANCELLED


async def test_a_run_goes_on_without_a_reader(ada: Account, provider: Provider) -> None:
    client, conversation = ada.client, await ada.client.conversation()
    gate = provider.hold(after=2, text="one two three")
    stream = await client.send(conversation.id, "Hello").until(written(2))
    stream.leave()
    gate.open()
    assert await has_ended(client, stream.run_id) == COMPLETED
    assert provider.calls[0].complete
    assert (await client.messages(conversation.id))[-1].parts[0].text.text == "one two three"


async def test_a_repeated_request_attaches_to_its_run(ada: Account, provider: Provider) -> None:
    client, conversation = ada.client, await ada.client.conversation()
    gate = provider.hold(after=2, text="one two three")
    asked = message(conversation.id, "Hello")
    first = client.open("SendMessage", **asked)
    await first.until(written(2))
    second = client.open("SendMessage", **asked)
    await second.until(written(2))
    first.leave()
    gate.open()
    third = client.open("SendMessage", **asked)
    assert [(await stream.to_end()).reason for stream in (second, third)] == ["", ""]
    assert second.run_id == third.run_id == first.run_id
    assert second.text == third.text == "one two three"
    assert len(provider.calls) == 1
    assert len(await client.messages(conversation.id)) == 2


async def test_repeats_at_the_same_time_start_one_run(ada: Account, provider: Provider) -> None:
    client, conversation = ada.client, await ada.client.conversation()
    asked = message(conversation.id, "Hello")
    streams = [client.open("SendMessage", **asked) for _ in range(10)]
    answers = await asyncio.gather(*(stream.to_end() for stream in streams))
    assert {answer.reason for answer in answers} == {""}
    assert len({stream.run_id for stream in streams}) == len(provider.calls) == 1


async def test_a_busy_conversation_names_its_run(ada: Account, provider: Provider) -> None:
    client, conversation = ada.client, await ada.client.conversation()
    gate = provider.hold(after=1, text="one two")
    stream = await client.send(conversation.id, "Hello").until(written(1))
    busy = await client.call("SendMessage", **message(conversation.id, "Hello"))
    assert (busy.code, busy.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CONVERSATION_BUSY")
    assert dict(busy.details[0].metadata) == {"conversation_id": conversation.id, "run_id": stream.run_id}
    # Refused as a whole: neither its message nor its request id is kept.
    assert len(await client.messages(conversation.id)) == 1
    gate.open()
    await stream.to_end()
    assert (await client.ask(conversation.id, "Hello")).fold.end == "completed"


async def test_a_deleted_conversation_takes_its_run_along(ada: Account, provider: Provider) -> None:
    client, conversation = ada.client, await ada.client.conversation()
    provider.hold(after=1, text="one two")
    stream = await client.send(conversation.id, "Hello").until(written(1))
    await client.ok("DeleteConversation", conversation_id=conversation.id)
    await provider.closed(provider.calls[0])
    assert (await stream.to_end()).reason == ""
    assert stream.fold.end == "cancelled"
    assert await client.reason("ListMessages", conversation_id=conversation.id) == "CONVERSATION_NOT_FOUND"
