"""Where one model's provider fails, another answers, and the stream, the log and the conversation agree on it (T10)."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from chatter_grpc._gen.chatter.v1 import run_pb2
from chatter_grpc._gen.chatter.v1.error_reason_pb2 import ErrorReason
from tests.acceptance.platform.conftest import KEY
from tests.support.openai_plans import Fault, Plan
from tests.support.provider import Provider, provider_on_a_thread
from tests.support.served import Client, Served, Stream, served, signed_in, written

pytestmark = pytest.mark.platform("T10")

FIRST, SECOND, THIRD, LONELY, SMALL = "first/a", "second/b", "second/c", "first/alone", "first/small"
CHAINS: Final = {FIRST: [SECOND, THIRD], SECOND: [FIRST], SMALL: [SECOND]}
# What a token costs, in and out, in micro-dollars.
PRICES: Final = {FIRST: (2, 10), SECOND: (3, 7), THIRD: (1, 1), LONELY: (2, 10), SMALL: (2, 10)}
CONTEXT_TOKENS: Final = 1_000
# How a provider fails before it says anything, and in mid-answer.
AT_ONCE: Final = (Plan(status=503, retry_after="0"), Plan(status=429, retry_after="0"), Plan(mute=True))
MIDWAY: Final = (Fault.CUT, Fault.END, Fault.GARBAGE, Fault.ERROR, Fault.STALL, Fault.UNFRAMED)
ANSWER: Final = "Here is the answer."


@pytest.fixture(scope="module")
def second_provider() -> Iterator[Provider]:
    with provider_on_a_thread(KEY) as provider:
        yield provider


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, running_provider: Provider, second_provider: Provider
) -> Iterator[Served]:
    """A server of two endpoints, without patience, whose models answer for one another."""
    directory = tmp_path_factory.mktemp("fallbacks")
    entries: dict[str, dict[str, Any]] = {
        name: {"input_micros": read * 10**6, "output_micros": wrote * 10**6, "noted": "2026-11-22"}
        for name, (read, wrote) in PRICES.items()
    }
    entries[SMALL] |= {"context_tokens": CONTEXT_TOKENS, "max_output_tokens": 100, "takes_images": True}
    (directory / "models.json").write_text(json.dumps(entries))
    endpoints = {
        "first": {"base_url": running_provider.base_url, "api_key": KEY, "models": ["a", "alone", "small"]},
        "second": {"base_url": second_provider.base_url, "api_key": KEY, "models": ["b", "c"]},
    }
    given = {
        "endpoints": json.dumps(endpoints),
        "fallbacks": json.dumps(CHAINS),
        "models_file": str(directory / "models.json"),
        "provider_first_token_seconds": "1",
        "provider_idle_seconds": "1",
        "provider_attempts": "1",
        "default_model": FIRST,
    }
    with served(directory / "server", **given) as server:
        yield server


@pytest.fixture
def second(second_provider: Provider) -> Iterator[Provider]:
    """The provider of the fallbacks, which remembers nothing of the test before."""
    second_provider.clear()
    yield second_provider
    assert not second_provider.standin.refused


@pytest.fixture
async def client(anyone: Client) -> Client:
    return (await signed_in(anyone)).client


async def agrees(client: Client, conversation_id: str, stream: Stream) -> list[Any]:
    """Return the answers that are stored, which a stream, and one that came later, fold to."""
    later = client.open("WatchRun", run_id=stream.run_id)
    assert (await later.to_end()).reason == ""
    answers = [each for each in await client.messages(conversation_id) if each.run_id == stream.run_id][1:]
    stored = {each.id: "".join(part.text.text for part in each.parts) for each in answers}
    assert stream.fold.stored == later.fold.stored == stored
    told = {key: (message.model, message.provider) for key, message in stream.fold.messages.items()}
    assert told == {each.id: (each.model, each.provider) for each in answers}
    assert (await client.run(stream.run_id)).usage == stream.fold.usage == later.fold.usage
    return answers


def reports(stream: Stream) -> list[tuple[str, int, int, int]]:
    """What each call took, as the stream reports it: model, tokens read and written, cost."""
    found = [event.usage for event in stream.events if event.WhichOneof("event") == "usage"]
    return [(each.model, each.usage.input_tokens, each.usage.output_tokens, each.usage.cost_micros) for each in found]


@pytest.mark.parametrize("plan", AT_ONCE, ids=["unavailable", "rate limited", "silent"])
async def test_a_provider_that_fails_at_once_is_not_noticed(
    client: Client, provider: Provider, second: Provider, plan: Plan
) -> None:
    """T10: the answer of the next model is the only one that was begun."""
    provider.plan(plan)
    second.plan(Plan(text=ANSWER))
    conversation_id = (await client.conversation()).id
    stream = await client.ask(conversation_id, "Hello")
    (answer,) = await agrees(client, conversation_id, stream)
    assert (stream.fold.end, stream.text, answer.model, answer.provider) == ("completed", ANSWER, SECOND, "second")
    assert "message_discarded" not in stream.fold.kinds
    assert stream.fold.kinds.count("message_started") == 1
    assert reports(stream) == [(SECOND, 1, 4, 1 * 3 + 4 * 7)]
    assert [len(each.calls) for each in (provider, second)] == [1, 1]


@pytest.mark.parametrize("fault", MIDWAY)
async def test_an_answer_that_breaks_off_is_taken_back_and_given_by_the_next_model(
    client: Client, provider: Provider, second: Provider, fault: Fault
) -> None:
    """T10: the fold is what is stored, both calls are paid for, each at its own price."""
    gate = provider.hold(after=2, fault=fault, text="one two three four")
    second.plan(Plan(text=ANSWER))
    conversation_id = (await client.conversation()).id
    stream = await client.send(conversation_id, "Hello there").until(written(2))
    gate.open()
    assert (await stream.to_end()).reason == ""
    (answer,) = await agrees(client, conversation_id, stream)
    assert (stream.fold.end, stream.text, answer.model) == ("completed", ANSWER, SECOND)
    assert stream.fold.kinds.count("message_discarded") == 1
    # The first provider did not come to say what it counts: it is estimated, at four bytes a token.
    assert reports(stream) == [(FIRST, 3, 2, 3 * 2 + 2 * 10), (SECOND, 2, 4, 2 * 3 + 4 * 7)]
    usage = stream.fold.usage
    assert (usage.input_tokens, usage.output_tokens, usage.cost_micros, usage.estimated) == (5, 6, 26 + 34, True)
    conversation = (await client.ok("GetConversation", conversation_id=conversation_id)).conversation
    assert conversation.usage == usage
    assert (answer.usage.cost_micros, answer.usage.estimated) == (34, False)


async def test_the_whole_list_is_tried_in_order(client: Client, provider: Provider, second: Provider) -> None:
    """T10: two models that break off, and a third that answers."""
    provider.plan(Plan(text="one two three", fault=Fault.CUT, after=2))
    second.plan(Plan(text="four five six", fault=Fault.END, after=1), Plan(text=ANSWER))
    conversation_id = (await client.conversation()).id
    stream = await client.ask(conversation_id, "Hello")
    (answer,) = await agrees(client, conversation_id, stream)
    assert (answer.model, [model for model, *_ in reports(stream)]) == (THIRD, [FIRST, SECOND, THIRD])
    assert [call.body["model"] for call in second.calls] == ["b", "c"]


async def test_where_all_fail_the_run_fails_with_the_last_failure(
    client: Client, provider: Provider, second: Provider
) -> None:
    """T10: as a typed event, with what was consumed and without an answer; the next message is answered."""
    provider.plan(Plan(text="one two", fault=Fault.CUT, after=1))
    second.plan(Plan(text="one two", fault=Fault.CUT, after=1), Plan(status=429))
    conversation_id = (await client.conversation()).id
    stream = await client.ask(conversation_id, "Hello")
    assert await agrees(client, conversation_id, stream) == []
    run = await client.run(stream.run_id)
    assert (run.state, ErrorReason.Name(run.failure.reason)) == (
        run_pb2.RUN_STATE_FAILED,
        "ERROR_REASON_PROVIDER_RATE_LIMITED",
    )
    assert stream.fold.kinds.count("message_discarded") == 2
    assert stream.fold.usage.output_tokens == 2
    provider.plan(Plan(text=ANSWER))
    assert (await client.ask(conversation_id, "And now?")).text == ANSWER


@pytest.mark.parametrize("status", [400, 401, 404])
async def test_what_the_provider_refuses_is_not_asked_elsewhere(
    client: Client, provider: Provider, second: Provider, status: int
) -> None:
    """T10: what is wrong with the request or the key does not become right by another model."""
    provider.plan(Plan(status=status))
    stream = await client.ask((await client.conversation()).id, "Hello")
    assert stream.fold.last is not None
    assert ErrorReason.Name(stream.fold.last.failed.reason) == "ERROR_REASON_PROVIDER_REFUSED"
    assert not second.calls


async def test_a_model_without_fallbacks_has_none(client: Client, provider: Provider, second: Provider) -> None:
    """T10."""
    provider.plan(Plan(status=503))
    stream = await client.ask((await client.conversation()).id, "Hello", overrides={"model": LONELY})
    assert stream.fold.end == "failed"
    assert not second.calls


async def test_a_run_that_is_cancelled_asks_nobody_else(client: Client, provider: Provider, second: Provider) -> None:
    """T10: neither while the first model is at work, nor while the second is."""
    gates = [provider.hold(after=1, text="one two")]
    provider.plan(Plan(status=503))
    gates.append(second.hold(after=1, text="one two"))
    for model in (FIRST, SECOND):
        conversation_id = (await client.conversation()).id
        stream = await client.send(conversation_id, "Hello").until(written(1))
        assert (await client.ok("CancelRun", run_id=stream.run_id)).run.state == run_pb2.RUN_STATE_CANCELLED
        assert (await stream.to_end()).reason == ""
        (answer,) = await agrees(client, conversation_id, stream)
        assert (stream.fold.end, answer.model) == ("cancelled", model)
    assert [len(each.calls) for each in (provider, second)] == [2, 1]
    for gate in gates:
        gate.open()


async def test_any_mix_of_failures_folds_to_what_is_stored(
    client: Client, provider: Provider, second: Provider
) -> None:
    """T10: many conversations at once, whose providers fail at any point or not at all."""
    faults = (None, Fault.CUT, Fault.END, Fault.GARBAGE, Fault.ERROR)
    for number in range(24):
        text = " ".join(f"w{number}.{word}" for word in range(5))
        chosen = faults[number % len(faults)]
        provider.plan(Plan(text=text, fault=chosen, after=number % 6 if chosen else 0))
        second.plan(Plan(text=text.upper(), fault=faults[number // 5 % 3], after=number % 4))
    conversations = [(await client.conversation()).id for _ in range(24)]
    streams = await asyncio.gather(*(client.ask(each, "Hello") for each in conversations))
    ends: set[str] = set()
    for conversation_id, stream in zip(conversations, streams, strict=True):
        answers = await agrees(client, conversation_id, stream)
        assert (stream.fold.end == "completed") is (len(answers) == 1)
        ends.update(answer.model for answer in answers)
    assert {FIRST, SECOND} <= ends


async def test_what_a_model_cannot_be_asked_is_refused_before_anything_is_stored(
    client: Client, provider: Provider, second: Provider
) -> None:
    """T10: too long a message, and images where none are taken, with the reason; no provider is called."""
    conversation_id = (await client.conversation()).id
    long: dict[str, Any] = {"overrides": {"model": SMALL}, "request_id": "too-long"}
    answer = await client.send(conversation_id, "x" * 4 * CONTEXT_TOKENS, **long).to_end()
    assert answer.reason == "CONTEXT_EXCEEDED"
    assert await client.messages(conversation_id) == []
    assert (await client.ask(conversation_id, "x", **long)).fold.end == "completed", "the request id is free again"
    assert (len(provider.calls), len(second.calls)) == (1, 0)


async def test_a_long_conversation_loses_its_oldest_messages_and_goes_on(client: Client, provider: Provider) -> None:
    """T10: where the window of memory does not fit the context window, its oldest messages are left out."""
    conversation_id = (await client.conversation(model_settings={"model": SMALL})).id
    for number in range(6):
        provider.plan(Plan(text=f"answer {number} " + "y" * 600))
        stream = await client.ask(conversation_id, f"question {number} " + "x" * 600)
        assert stream.fold.end == "completed"
    asked = [message["content"].split()[1] for message in provider.calls[-1].body["messages"]]
    assert asked == ["3", "3", "4", "4", "5"]
    assert len(await client.messages(conversation_id)) == 12, "nothing is lost but to the model"


async def test_an_answer_is_asked_for_at_most_as_long_as_the_model_gives(client: Client, provider: Provider) -> None:
    """T10: a limit above the model's own means that one, instead of a refusal by the provider."""
    conversation_id = (await client.conversation(model_settings={"model": SMALL, "max_tokens": 5_000})).id
    await client.ask(conversation_id, "Hello")
    assert provider.calls[-1].body["max_tokens"] == 100


async def test_what_is_known_of_models_is_told(client: Client) -> None:
    """T10: a caller finds out beforehand what can be asked of which model."""
    models = {each.name: each for each in (await client.ok("GetServerInfo")).models}
    small, offline, alone = models[SMALL], models["chatter/offline"], models[LONELY]
    assert (small.context_tokens, small.max_output_tokens, small.takes_images) == (CONTEXT_TOKENS, 100, True)
    assert (small.input_price_micros, small.output_price_micros) == (2_000_000, 10_000_000)
    assert not small.structured_output
    assert not offline.takes_images
    assert not any(alone.HasField(name) for name in ("context_tokens", "max_output_tokens"))
