"""All of a request reaches a provider behind LangChain, in the provider's own words, and nothing that was not set."""

import json
from typing import Any

import pytest

from chatter_grpc.adapters.models.http import HttpPool
from chatter_grpc.adapters.models.langchain.chat import LangChainChat
from chatter_grpc.core.models import Image, ModelRequest, Role, Turn
from tests.support.chats import KEY
from tests.support.deltas import ask, deltas_of, text_of
from tests.support.hosted import HOSTED, Hosted
from tests.support.standin import StandIn

SNOW = "three \N{SNOWMAN}"
SCHEMA = {
    "type": "object",
    "properties": {"colour": {"type": "string"}},
    "required": ["colour"],
    "additionalProperties": False,
}
# What every request holds beside what was asked for.
PLAIN: dict[str, dict[str, Any]] = {
    "anthropic": {
        "model": "claude-sonnet-4-6",
        "max_tokens": 128_000,
        "stream": True,
        "messages": [{"role": "user", "content": "hello"}],
    },
    "google": {
        "contents": [{"role": "user", "parts": [{"text": "hello"}]}],
        "generationConfig": {"candidateCount": 1},
        "safetySettings": [],
    },
    "ollama": {
        "model": "llama3.2",
        "stream": True,
        "options": {},
        "tools": [],
        "messages": [{"role": "user", "content": "hello"}],
    },
    "mistral": {
        "model": "mistral-small-latest",
        "stream": True,
        "top_p": 1,
        "messages": [{"role": "user", "content": "hello"}],
    },
    "aws": {"system": [], "inferenceConfig": {}, "messages": [{"role": "user", "content": [{"text": "hello"}]}]},
}
FULL: dict[str, dict[str, Any]] = {
    "anthropic": {
        "model": "claude-sonnet-4-6",
        "max_tokens": 7,
        "temperature": 0.5,
        "stream": True,
        "system": "Be brief.",
        "messages": [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": SNOW},
        ],
    },
    "google": {
        "contents": [
            {"role": "user", "parts": [{"text": "one"}]},
            {"role": "model", "parts": [{"text": "two"}]},
            {"role": "user", "parts": [{"text": SNOW}]},
        ],
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "generationConfig": {"candidateCount": 1, "temperature": 0.5, "maxOutputTokens": 7},
        "safetySettings": [],
    },
    "ollama": {
        "model": "llama3.2",
        "stream": True,
        "options": {"temperature": 0.5, "num_predict": 7},
        "tools": [],
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": SNOW},
        ],
    },
    "mistral": {
        "model": "mistral-small-latest",
        "stream": True,
        "temperature": 0.5,
        "max_tokens": 7,
        "top_p": 1,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": SNOW},
        ],
    },
    "aws": {
        "system": [{"text": "Be brief."}],
        "inferenceConfig": {"temperature": 0.5, "maxTokens": 7},
        "messages": [
            {"role": "user", "content": [{"text": "one"}]},
            {"role": "assistant", "content": [{"text": "two"}]},
            {"role": "user", "content": [{"text": SNOW}]},
        ],
    },
}
# A request's image and text, as they stand in the last message.
IMAGES: dict[str, Any] = {
    "anthropic": [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "UE5H"}},
        {"type": "text", "text": "What is this?"},
    ],
    "google": [{"inlineData": {"data": "UE5H", "mime_type": "image/png"}}, {"text": "What is this?"}],
    "ollama": (["UE5H"], "\nWhat is this?"),
    "mistral": [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,UE5H"}},
        {"type": "text", "text": "What is this?"},
    ],
    "aws": [{"image": {"format": "png", "source": {"bytes": "UE5H"}}}, {"text": "What is this?"}],
}


async def test_what_is_not_set_is_not_sent(hosted: Hosted, hosted_chat: LangChainChat, standin: StandIn) -> None:
    await deltas_of(hosted_chat, ask("hello", model=hosted.named()))
    assert standin.calls[0].body == PLAIN[hosted.provider]
    assert standin.calls[0].model == hosted.model


async def test_all_of_a_request_reaches_the_provider(
    hosted: Hosted, hosted_chat: LangChainChat, standin: StandIn
) -> None:
    turns = [
        Turn(role=Role.USER, text="one"),
        Turn(role=Role.ASSISTANT, text="two"),
        Turn(role=Role.USER, text=SNOW),
    ]
    request = ModelRequest(model=hosted.named(), turns=turns, system_prompt="Be brief.", temperature=0.5, max_tokens=7)
    await deltas_of(hosted_chat, request)
    assert standin.calls[0].body == FULL[hosted.provider]


async def test_an_image_reaches_the_provider(hosted: Hosted, hosted_chat: LangChainChat, standin: StandIn) -> None:
    image = Image(media_type="image/png", data=b"PNG")
    turn = Turn(role=Role.USER, text="What is this?", images=(image,))
    deltas = await deltas_of(hosted_chat, ModelRequest(model=hosted.named(), turns=[turn]))
    assert text_of(deltas).split() == ["You", "said:", "What", "is", "this?"]
    body = standin.calls[0].body
    found: Any = (body["contents"] if hosted.provider == "google" else body["messages"])[-1]
    if hosted.provider == "ollama":
        assert (found["images"], found["content"]) == IMAGES["ollama"]
    else:
        assert found["parts" if hosted.provider == "google" else "content"] == IMAGES[hosted.provider]


async def test_an_image_may_stand_without_a_text(hosted: Hosted, hosted_chat: LangChainChat, standin: StandIn) -> None:
    turn = Turn(role=Role.USER, text="", images=(Image(media_type="image/webp", data=b"WEBP"),) * 2)
    await deltas_of(hosted_chat, ModelRequest(model=hosted.named(), turns=[turn]))
    assert json.dumps(standin.calls[0].body).count("V0VCUA==") == 2


async def test_a_schema_reaches_the_provider(hosted: Hosted, hosted_chat: LangChainChat, standin: StandIn) -> None:
    request = ask("Which colour?", model=hosted.named(), response_schema=json.dumps(SCHEMA))
    await deltas_of(hosted_chat, request)
    body = standin.calls[0].body
    sent: Any
    match hosted.provider:
        case "anthropic":
            sent = body["output_config"]["format"]["schema"]
        case "google":
            assert body["generationConfig"]["responseMimeType"] == "application/json"
            sent = body["generationConfig"]["responseJsonSchema"]
        case "ollama":
            sent = body["format"]
        case "mistral":
            sent = body["response_format"]["json_schema"]["schema"]
        case _:
            sent = json.loads(body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"])
    assert sent == SCHEMA


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "array", "items": {"type": "string"}},
        {"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": False},
        {"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "required": ["a"]}
        | {"additionalProperties": False},
    ],
)
async def test_a_schema_that_anthropic_would_refuse_is_asked_for_in_words(
    pool: HttpPool, schema: dict[str, Any]
) -> None:
    hosted, text = HOSTED["anthropic"], json.dumps(schema)
    async with hosted.standin(api_key=KEY) as standin:
        chat = await hosted.chat(standin, pool)
        await deltas_of(chat, ask("Which?", model=hosted.named(), response_schema=text, system_prompt="Be brief."))
    body = standin.calls[0].body
    assert "output_config" not in body
    assert body["system"].startswith("Be brief.\n\n")
    assert body["system"].endswith(text)


async def test_a_very_long_conversation_is_sent(hosted: Hosted, hosted_chat: LangChainChat, standin: StandIn) -> None:
    text = "long " * 300_000
    deltas = await deltas_of(hosted_chat, ask(text, model=hosted.named(), max_tokens=1))
    assert text_of(deltas) == "You"
    assert text in json.dumps(standin.calls[0].body)


@pytest.mark.parametrize("turns", [("one", "two", "three", "four", "five")])
async def test_turns_keep_their_order(
    hosted: Hosted, hosted_chat: LangChainChat, standin: StandIn, turns: tuple[str, ...]
) -> None:
    made = [Turn(role=(Role.USER, Role.ASSISTANT)[number % 2], text=text) for number, text in enumerate(turns)]
    await deltas_of(hosted_chat, ModelRequest(model=hosted.named(), turns=made))
    sent = json.dumps(standin.calls[0].body)
    places = [sent.index(text) for text in turns]
    assert places == sorted(places)
