"""The stand-in is as strict as the real provider, and can be driven from another process."""

import asyncio
import json
import sys
from typing import Any

import aiohttp
import pytest

from tests.support.chats import KEY
from tests.support.openai_plans import Fault, Plan
from tests.support.openai_standin import OpenAIStandIn

GOOD: dict[str, Any] = {"model": "gpt", "stream": True, "messages": [{"role": "user", "content": "Hi there"}]}


async def post(base_url: str, body: object, *, key: str = KEY) -> tuple[int, str]:
    """Send a request and return the answer's status and body."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{base_url}/chat/completions", data=data, headers={"Authorization": f"Bearer {key}"}) as answer,
    ):
        return answer.status, await answer.text()


async def test_an_answer_has_the_shape_of_the_real_one(provider: OpenAIStandIn) -> None:
    status, text = await post(provider.base_url, GOOD | {"stream_options": {"include_usage": True}})
    events = text.split("\n\n")
    assert (status, events[-2:]) == (200, ["data: [DONE]", ""])
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks[:-1]]
    assert deltas[0] == {"role": "assistant", "content": "", "refusal": None}
    assert "".join(delta.get("content", "") for delta in deltas) == "You said: Hi there"
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [None] * 5 + ["stop"]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == {"prompt_tokens": 2, "completion_tokens": 4, "total_tokens": 6}
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * 6


async def test_usage_comes_only_where_it_is_asked_for(provider: OpenAIStandIn) -> None:
    _, text = await post(provider.base_url, GOOD)
    assert "usage" not in text


async def test_what_was_sent_is_counted(provider: OpenAIStandIn) -> None:
    await post(provider.base_url, GOOD)
    await post(provider.base_url, GOOD | {"model": "gpt?tokens=3"})
    assert provider.tokens_sent == 7
    assert [call.complete for call in provider.calls] == [True, True]


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        [],
        {},
        GOOD | {"stream": False},
        GOOD | {"unknown": 1},
        GOOD | {"model": 5},
        GOOD | {"messages": []},
        GOOD | {"messages": [{"role": "robot", "content": "x"}]},
        GOOD | {"messages": [{"role": "user", "content": ["x"]}]},
        GOOD | {"messages": [{"role": "user", "content": "x", "name": "y"}]},
        GOOD | {"messages": [{"role": "assistant", "content": "x"}]},
        GOOD | {"temperature": 2.5},
        GOOD | {"temperature": "warm"},
        GOOD | {"max_tokens": 0},
        GOOD | {"max_tokens": True},
        GOOD | {"max_tokens": 1, "max_completion_tokens": 1},
        GOOD | {"stream_options": {"include_usage": True, "more": 1}},
        GOOD | {"model": "gpt?nonsense=1"},
        GOOD | {"model": "gpt?fault=nonsense"},
        GOOD | {"model": "gpt?gates=1"},
    ],
    ids=str,
)
async def test_a_wrong_request_is_refused_and_told(provider: OpenAIStandIn, body: object) -> None:
    provider.plan(Plan(text="Still here."))
    status, text = await post(provider.base_url, body)
    assert status == 400
    assert json.loads(text)["error"]["code"] == "invalid_request_error"
    assert len(provider.refused) == 1
    assert "Still" in (await post(provider.base_url, GOOD))[1]


async def test_a_wrong_key_and_an_unknown_model_are_refused(provider: OpenAIStandIn) -> None:
    assert (await post(provider.base_url, GOOD, key="sk-wrong"))[0] == 401
    assert (await post(provider.base_url, GOOD | {"model": "unknown"}))[0] == 404
    assert provider.calls == []


def test_a_models_name_can_say_any_plan() -> None:
    assert Plan.named("gpt") == Plan()
    assert Plan.named("x?status=429&retry_after=0.5&error_code=e") == Plan(
        status=429, retry_after="0.5", error_code="e"
    )
    assert Plan.named("x?pieces=a|b&delay=0.5&fault=stall&after=1&usage=0&crlf=1") == Plan(
        pieces=("a", "b"), delay=0.5, fault=Fault.STALL, after=1, usage=False, crlf=True
    )


async def test_connections_are_counted_until_they_are_closed(provider: OpenAIStandIn) -> None:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:
        async with session.post(f"{provider.base_url}/chat/completions", json=GOOD) as answer:
            await answer.read()
        connection = provider.calls[0].connection
        seen = [(provider.open_connections, connection.closed_at is None)]
    await provider.wait_until_closed(provider.calls[0])
    seen.append((provider.open_connections, connection.closed_at is None))
    assert seen == [(1, True), (0, False)]


async def test_it_runs_as_a_process_of_its_own() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.openai_standin", "--api-key", KEY, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        base_url = (await asyncio.wait_for(process.stdout.readline(), 30)).decode().strip()
        root = base_url.removesuffix("/v1")
        async with aiohttp.ClientSession() as session:
            async with session.post(f"{root}/stand-in/plans?text=From+outside") as planned:
                assert planned.status == 200
            assert "outside" in (await post(base_url, GOOD))[1]
            async with session.get(f"{root}/stand-in/calls") as report:
                told = await report.json()
        assert told["calls"][0]["body"] == GOOD
        assert told["calls"][0]["sent"] == ["From", " outside"]
        assert told["calls"][0]["complete"]
        assert told["refused"] == []
    finally:
        process.terminate()
        status = await asyncio.wait_for(process.wait(), 30)
    assert status == 0
