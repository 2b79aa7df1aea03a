"""What was streamed is what is stored, with all that is known of it (T8)."""

import hashlib
from typing import Any

import pytest

from chatter_grpc._gen.chatter.v1.content_pb2 import (
    FINISH_REASON_CONTENT_FILTER,
    FINISH_REASON_LENGTH,
    FINISH_REASON_STOP,
    ROLE_ASSISTANT,
    ROLE_USER,
    ContentPart,
    TextPart,
)
from chatter_grpc._gen.chatter.v1.conversation_pb2 import ModelSettings
from tests.acceptance.platform.conftest import INPUT_PRICE, OUTPUT_PRICE
from tests.support.openai_plans import Plan
from tests.support.provider import Provider
from tests.support.served import Account, message, request_of

pytestmark = pytest.mark.platform("T8")

PLANS = {
    "words": Plan(text="Four score and seven years ago our fathers brought forth"),
    "any text": Plan(pieces=("Größe \N{SNOWMAN}\n", "\t<b>&amp;", "\u202e\u0301", "\ud83d", "\ude00", " \x00end ")),
    "long": Plan(pieces=tuple(f"{number}: {'x' * 999}\n" for number in range(400))),
    "reasoning": Plan(text="42", reasoning=("six ", "times seven")),
    "cut by the provider": Plan(text="I had better", finish_reason="content_filter"),
    "nothing": Plan(pieces=()),
}
REASONS = {"cut by the provider": FINISH_REASON_CONTENT_FILTER}


@pytest.mark.parametrize("name", PLANS)
async def test_what_was_streamed_is_what_is_stored(provider: Provider, ada: Account, name: str) -> None:
    """T8: folded from the stream, and read in every other way."""
    plan, client = PLANS[name], ada.client
    provider.plan(plan)
    conversation = await client.conversation()
    stream = await client.ask(conversation.id, "Go on.")
    text = "".join(plan.content("")).encode("utf-16", "surrogatepass").decode("utf-16")
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    ((message_id, folded),) = stream.fold.stored.items()
    assert folded == text
    told = stream.fold.messages[message_id]
    assert told.reasoning == "".join(plan.reasoning)
    listed = await client.messages(conversation.id)
    got = (await client.ok("GetMessage", message_id=message_id)).message
    assert [each.role for each in listed] == [ROLE_USER, ROLE_ASSISTANT]
    assert listed[1] == got
    assert "".join(part.text.text for part in got.parts) == text
    assert (got.id, got.text_sha256) == (message_id, sha256)
    finished = told.finished
    assert finished is not None
    assert (finished.text_sha256, finished.finish_reason, finished.usage) == (sha256, got.finish_reason, got.usage)
    assert got.finish_reason == REASONS.get(name, FINISH_REASON_STOP)
    assert (got.model, got.provider) == (told.model, told.provider) == ("openai/priced", "openai")
    assert (got.conversation_id, got.run_id, got.index) == (conversation.id, stream.run_id, 2)
    assert got.latency.ToNanoseconds() > 0
    assert listed[0].text_sha256 == hashlib.sha256(b"Go on.").hexdigest()
    assert not listed[0].HasField("usage")


async def test_usage_and_price_are_the_same_wherever_they_stand(provider: Provider, ada: Account) -> None:
    """T8: the provider's own count, in the stream, in the message, in the run, and summed in the conversation."""
    provider.plan(Plan(tokens=7), Plan(tokens=5))
    client, conversation = ada.client, await ada.client.conversation()
    first = await client.ask(conversation.id, "one two three")
    second = await client.ask(conversation.id, "four five")
    # The stand-in counts words, those of the history too.
    counts = [(3, 7), (3 + 7 + 2, 5)]
    for stream, (read, wrote) in zip((first, second), counts, strict=True):
        expected = (read, wrote, read * INPUT_PRICE + wrote * OUTPUT_PRICE, False)
        (message_id,) = stream.fold.stored
        got = (await client.ok("GetMessage", message_id=message_id)).message
        (reported,) = (event.usage for event in stream.events if event.WhichOneof("event") == "usage")
        assert (reported.message_id, reported.model) == (message_id, "openai/priced")
        run = await client.run(stream.run_id)
        everywhere = [reported.usage, got.usage, stream.fold.usage, run.usage]
        assert [figures(usage) for usage in everywhere] == [expected] * 4
    total = (await client.ok("GetConversation", conversation_id=conversation.id)).conversation
    read, wrote = (sum(count) for count in zip(*counts, strict=True))
    assert figures(total.usage) == (read, wrote, read * INPUT_PRICE + wrote * OUTPUT_PRICE, False)
    assert total.message_count == 4
    assert total.last_message_time == (await client.messages(conversation.id))[-1].create_time


async def test_usage_is_estimated_where_the_provider_gives_none_and_says_so(provider: Provider, ada: Account) -> None:
    """T8: what was not counted is not passed off as counted."""
    provider.plan(Plan(text="A short answer.", usage=False), Plan(text="Counted."))
    client, conversation = ada.client, await ada.client.conversation()
    stream = await client.ask(conversation.id, "Hello")
    ((message_id, _),) = stream.fold.stored.items()
    usage = (await client.ok("GetMessage", message_id=message_id)).message.usage
    assert usage.estimated
    assert usage.input_tokens > 0
    assert usage.output_tokens > 0
    assert usage.cost_micros == usage.input_tokens * INPUT_PRICE + usage.output_tokens * OUTPUT_PRICE
    counted = await client.ask(conversation.id, "And again")
    assert not counted.fold.usage.estimated
    total = (await client.ok("GetConversation", conversation_id=conversation.id)).conversation
    assert total.usage.estimated


async def test_an_unknown_price_is_no_price(provider: Provider, ada: Account) -> None:
    """T8: a model without a price costs nobody knows what, rather than nothing."""
    client, conversation = ada.client, await ada.client.conversation()
    stream = await client.ask(conversation.id, "Hello", overrides=ModelSettings(model="openai/other"))
    run = await client.run(stream.run_id)
    assert run.usage.output_tokens > 0
    assert not run.usage.HasField("cost_micros")
    total = (await client.ok("GetConversation", conversation_id=conversation.id)).conversation
    assert not total.usage.HasField("cost_micros")


async def test_an_answer_that_reaches_its_limit_says_so(provider: Provider, ada: Account) -> None:
    """T8: the reason for the end is stored as it was streamed."""
    provider.plan(Plan(tokens=20))
    client, conversation = ada.client, await ada.client.conversation()
    stream = await client.ask(conversation.id, "Count", overrides=ModelSettings(max_tokens=3))
    ((message_id, text),) = stream.fold.stored.items()
    got = (await client.ok("GetMessage", message_id=message_id)).message
    assert (text, got.finish_reason) == ("w0 w1 w2", FINISH_REASON_LENGTH)


def figures(usage: Any) -> tuple[int, int, int, bool]:
    return usage.input_tokens, usage.output_tokens, usage.cost_micros, usage.estimated


async def test_the_longest_message_that_can_be_sent_can_be_read_by_a_stock_client(
    provider: Provider, ada: Account
) -> None:
    """T8: it comes back with more than was sent, and a client takes 4 MiB unless it is told otherwise."""
    client = ada.client
    most = (await client.ok("GetServerInfo")).max_request_bytes
    conversation = await client.conversation()
    fields = message(conversation.id, "", request_id="longest")
    left = most - request_of("SendMessage", **fields).ByteSize()
    parts = [ContentPart(text=TextPart(text="x" * (left // 100 - 10))) for _ in range(99)]
    left = most - request_of("SendMessage", **{**fields, "parts": parts}).ByteSize()
    parts.append(ContentPart(text=TextPart(text="x" * (left - 12))))
    fields["parts"] = parts
    assert request_of("SendMessage", **fields).ByteSize() == most
    provider.plan(Plan(text="Long."))
    assert (await client.open("SendMessage", **fields).to_end()).reason == ""
    asked = (await client.messages(conversation.id))[0]
    assert list((await client.ok("GetMessage", message_id=asked.id)).message.parts) == parts
