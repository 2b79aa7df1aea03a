"""What is asked of an OpenAI-compatible endpoint, and what is made of its answers."""

import base64
import json

import pytest

from chatter_grpc.adapters.models.http import HttpPool
from chatter_grpc.adapters.models.openai import OpenAIChat
from chatter_grpc.core.models import (
    Finished,
    FinishReason,
    Image,
    ModelRequest,
    ReasoningPiece,
    Role,
    TextPiece,
    TokenCount,
    Turn,
)
from tests.support.chats import MakeChat
from tests.support.deltas import ask, batches_of, count_of, deltas_of, reasoning_of, text_of
from tests.support.images import IMAGES, PNG
from tests.support.openai_plans import Plan
from tests.support.openai_standin import OpenAIStandIn

FACE = "\U0001f600"


async def test_an_answer_arrives_whole_with_its_usage(chat: OpenAIChat, provider: OpenAIStandIn) -> None:
    deltas = await deltas_of(chat, ask("good day to you"))
    assert text_of(deltas) == "You said: good day to you"
    assert count_of(deltas) == TokenCount(4, 6)
    assert deltas[-1] == Finished(FinishReason.STOP)
    assert provider.calls[0].complete
    assert provider.refused == []


async def test_a_delta_of_the_provider_is_a_piece_of_its_own(chat: OpenAIChat, provider: OpenAIStandIn) -> None:
    provider.plan(Plan(pieces=("One", " two", "", " three")))
    deltas = await deltas_of(chat, ask("count"))
    assert [delta.text for delta in deltas if isinstance(delta, TextPiece)] == ["One", " two", " three"]


async def test_all_of_a_request_reaches_the_provider(chat: OpenAIChat, provider: OpenAIStandIn) -> None:
    turns = [
        Turn(role=Role.USER, text="one"),
        Turn(role=Role.ASSISTANT, text="two"),
        Turn(role=Role.USER, text="three \N{SNOWMAN}"),
    ]
    await deltas_of(
        chat,
        ModelRequest(model="stand-in/gpt", turns=turns, system_prompt="Be brief.", temperature=0.5, max_tokens=7),
    )
    assert provider.calls[0].body == {
        "model": "gpt",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": "three \N{SNOWMAN}"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
        "max_tokens": 7,
    }


async def test_images_go_along_with_the_text_of_their_turn(chat: OpenAIChat, provider: OpenAIStandIn) -> None:
    images = tuple(Image(media_type=media_type, data=data) for media_type, data in IMAGES.items())
    turns = [
        Turn(role=Role.USER, text="Look:", images=images),
        Turn(role=Role.ASSISTANT, text="Nice."),
        Turn(role=Role.USER, text="", images=images[:1]),
    ]
    assert text_of(await deltas_of(chat, ModelRequest(model="stand-in/gpt", turns=turns))) == "You said: "
    sent = [
        {"type": "image_url", "image_url": {"url": f"data:{name};base64,{base64.b64encode(data).decode()}"}}
        for name, data in IMAGES.items()
    ]
    assert provider.calls[0].body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "Look:"}, *sent]},
        {"role": "assistant", "content": "Nice."},
        {"role": "user", "content": sent[:1]},
    ]
    assert provider.refused == []


async def test_a_large_image_is_sent(chat: OpenAIChat, provider: OpenAIStandIn) -> None:
    data = PNG + bytes(5 * 1024 * 1024 - len(PNG))
    turn = Turn(role=Role.USER, text="Look", images=(Image(media_type="image/png", data=data),))
    await deltas_of(chat, ModelRequest(model="stand-in/gpt", turns=[turn]))
    url = provider.calls[0].body["messages"][0]["content"][1]["image_url"]["url"]
    assert base64.b64decode(url.partition(",")[2]) == data


STRICT = {"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": False}


@pytest.mark.parametrize(("schema", "strict"), [(STRICT, True), ({"type": "object"}, False)])
async def test_a_schema_is_asked_for_as_strictly_as_it_can_be(
    chat: OpenAIChat, provider: OpenAIStandIn, schema: dict[str, object], strict: bool
) -> None:
    await deltas_of(chat, ask("hello", response_schema=json.dumps(schema)))
    asked = {"name": "answer", "schema": schema, "strict": strict}
    assert provider.calls[0].body["response_format"] == {"type": "json_schema", "json_schema": asked}


async def test_what_is_not_set_is_not_sent(chat: OpenAIChat, provider: OpenAIStandIn) -> None:
    await deltas_of(chat, ask("hello"))
    assert provider.calls[0].body.keys() == {"model", "messages", "stream", "stream_options"}


async def test_a_models_name_may_hold_slashes(make_chat: MakeChat, provider: OpenAIStandIn) -> None:
    await deltas_of(make_chat(models=("meta/llama",)), ask("hello", model="stand-in/meta/llama"))
    assert provider.calls[0].body["model"] == "meta/llama"


async def test_an_endpoint_may_call_the_limit_of_tokens_otherwise(make_chat: MakeChat, provider: OpenAIStandIn) -> None:
    chat = make_chat(token_limit_field="max_completion_tokens")
    deltas = await deltas_of(chat, ask("a b c d e f", max_tokens=3))
    assert provider.calls[0].body["max_completion_tokens"] == 3
    assert deltas[-1] == Finished(FinishReason.LENGTH)
    assert text_of(deltas) == "You said: a"


async def test_a_very_long_conversation_is_sent(chat: OpenAIChat, provider: OpenAIStandIn) -> None:
    text = "long " * 500_000
    deltas = await deltas_of(chat, ask(text, max_tokens=1))
    assert provider.calls[0].body["messages"][0]["content"] == text
    assert deltas[-1] == Finished(FinishReason.LENGTH)


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        ("stop", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("content_filter", FinishReason.CONTENT_FILTER),
        ("eos_token", FinishReason.STOP),
    ],
)
async def test_finish_reasons_are_understood(
    chat: OpenAIChat, provider: OpenAIStandIn, named: str, reason: FinishReason
) -> None:
    provider.plan(Plan(finish_reason=named))
    assert (await deltas_of(chat, ask("hello")))[-1] == Finished(reason)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_reasoning_is_told_from_text(chat: OpenAIChat, provider: OpenAIStandIn, field: str) -> None:
    provider.plan(Plan(reasoning=("Let me", " think."), reasoning_field=field, text="So be it."))
    deltas = await deltas_of(chat, ask("why"))
    assert reasoning_of(deltas) == "Let me think."
    assert text_of(deltas) == "So be it."
    assert isinstance(deltas[0], ReasoningPiece)


async def test_a_call_of_a_tool_that_nobody_offered_is_no_text(chat: OpenAIChat, provider: OpenAIStandIn) -> None:
    provider.plan(Plan(tool_call=True, text="I would look it up."))
    deltas = await deltas_of(chat, ask("where"))
    assert (text_of(deltas), reasoning_of(deltas)) == ("I would look it up.", "")
    assert deltas[-1] == Finished(FinishReason.STOP)


async def test_a_refusal_is_what_the_user_reads(chat: OpenAIChat, provider: OpenAIStandIn) -> None:
    provider.plan(Plan(refusal=True, text="I cannot help with that."))
    assert text_of(await deltas_of(chat, ask("please"))) == "I cannot help with that."


async def test_a_provider_that_counts_nothing_is_not_counted_for(chat: OpenAIChat, provider: OpenAIStandIn) -> None:
    provider.plan(Plan(usage=False))
    deltas = await deltas_of(chat, ask("hello"))
    assert count_of(deltas) is None
    assert deltas[-1] == Finished(FinishReason.STOP)


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (("a\ud83d", "\ude00b"), f"a{FACE}b"),
        (("\ud83d", "\ude00\ud83d", "\ude00"), FACE + FACE),
        (("a\ud83d", "b"), "a\ufffdb"),
        (("a\ud83d",), "a\ufffd"),
        (("\ude00a",), "\ufffda"),
        ((FACE, " and ", "\u00fc"), f"{FACE} and \u00fc"),
    ],
)
async def test_half_a_character_waits_for_its_other_half(
    chat: OpenAIChat, provider: OpenAIStandIn, pieces: tuple[str, ...], text: str
) -> None:
    provider.plan(Plan(pieces=pieces))
    deltas = await deltas_of(chat, ask("smile"))
    assert text_of(deltas) == text
    assert isinstance(deltas[-1], Finished)
    for delta in deltas:
        if isinstance(delta, TextPiece):
            assert delta.text
            delta.text.encode()


async def test_half_a_character_of_the_reasoning_waits_too(chat: OpenAIChat, provider: OpenAIStandIn) -> None:
    provider.plan(Plan(reasoning=("\ud83d", "\ude00 hm \ud83d"), text="yes"))
    deltas = await deltas_of(chat, ask("smile"))
    assert reasoning_of(deltas) == f"{FACE} hm \ufffd"
    assert text_of(deltas) == "yes"


@pytest.mark.parametrize("plan", [Plan(byte_by_byte=True), Plan(crlf=True), Plan(comments=True, crlf=True)])
async def test_how_the_bytes_come_makes_no_difference(chat: OpenAIChat, provider: OpenAIStandIn, plan: Plan) -> None:
    provider.plan(plan)
    deltas = await deltas_of(chat, ask(f"gr\u00fc\u00dfe {FACE}"))
    assert text_of(deltas) == f"You said: gr\u00fc\u00dfe {FACE}"
    assert isinstance(deltas[-1], Finished)


async def test_a_delta_of_a_megabyte_arrives(chat: OpenAIChat, provider: OpenAIStandIn) -> None:
    provider.plan(Plan(pieces=("x" * 1_000_000, "y")))
    assert text_of(await deltas_of(chat, ask("much"))) == "x" * 1_000_000 + "y"


async def test_what_came_together_is_one_batch(chat: OpenAIChat, provider: OpenAIStandIn) -> None:
    provider.plan(Plan(tokens=2000))
    batches = await batches_of(chat, ask("many"))
    assert all(batches)
    assert len(batches) < 2000
    assert text_of([delta for batch in batches for delta in batch]).split() == [f"w{n}" for n in range(2000)]


@pytest.mark.parametrize("plan", [Plan(done=False), Plan(usage=False, done=False)])
async def test_a_finish_reason_is_enough_of_an_end(chat: OpenAIChat, provider: OpenAIStandIn, plan: Plan) -> None:
    provider.plan(plan)
    deltas = await deltas_of(chat, ask("hello"))
    assert text_of(deltas) == "You said: hello"
    assert deltas[-1] == Finished(FinishReason.STOP)


async def test_answers_share_a_connection(chat: OpenAIChat, provider: OpenAIStandIn) -> None:
    for _ in range(3):
        await deltas_of(chat, ask("hello"))
    assert len({id(call.connection) for call in provider.calls}) == 1
    assert provider.open_connections == 1


async def test_a_connection_that_does_not_end_with_its_answer_is_closed(
    chat: OpenAIChat, provider: OpenAIStandIn
) -> None:
    provider.plan(Plan(linger=True))
    deltas = await deltas_of(chat, ask("hello"))
    assert deltas[-1] == Finished(FinishReason.STOP)
    await provider.wait_until_closed(provider.calls[0])


async def test_a_provider_that_forgets_to_end_does_not_hold_the_answer_up(
    make_chat: MakeChat, provider: OpenAIStandIn
) -> None:
    provider.plan(Plan(done=False, linger=True))
    deltas = await deltas_of(make_chat(idle_seconds=0.1), ask("hello"))
    assert deltas[-1] == Finished(FinishReason.STOP)
    await provider.wait_until_closed(provider.calls[0])


async def test_closing_the_pool_closes_its_connections(
    chat: OpenAIChat, pool: HttpPool, provider: OpenAIStandIn
) -> None:
    await deltas_of(chat, ask("hello"))
    await pool.close()
    await provider.wait_until_closed(provider.calls[0])
