"""The provider's stand-in speaks OpenAI's wire: an event per token, usage when asked for, and errors."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from benchmarks.answers import AnswerPlan, read_epoch, write_rest
from benchmarks.provider import Exchange, prepare_script

MESSAGES = [{"role": "user", "content": "Hello"}]


class RecordingTransport(asyncio.Transport):
    """Keeps each write, and tells when the last one came."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.done = asyncio.Event()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))
        if b"[DONE]" in data:
            self.done.set()


@pytest_asyncio.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    server = await asyncio.get_running_loop().create_server(Exchange, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    timeout = aiohttp.ClientTimeout(total=10)
    async with server, aiohttp.ClientSession(f"http://127.0.0.1:{port}", timeout=timeout) as client:
        yield client


async def ask(session: aiohttp.ClientSession, **changes: Any) -> list[str]:
    request = {"model": "flat-3", "messages": MESSAGES, "stream": True, **changes}
    async with session.post("/v1/chat/completions", json=request) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "text/event-stream"
        body = (await response.read()).decode()
    events = body.split("\n\n")
    assert events.pop() == ""
    return [event.removeprefix("data: ") for event in events]


@pytest.mark.parametrize("model", ["flat-300", "paced-5000-300", "flat-1", "paced-50-1"])
async def test_an_answer_is_its_role_its_tokens_its_reason_and_done(session: aiohttp.ClientSession, model: str) -> None:
    *events, done = await ask(session, model=model)
    chunks = [json.loads(event) for event in events]
    assert done == "[DONE]"
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert {chunk["model"] for chunk in chunks} == {model}
    role, *tokens, end = [chunk["choices"][0] for chunk in chunks]
    assert role["delta"] == {"role": "assistant", "content": ""}
    assert (end["delta"], end["finish_reason"]) == ({}, "stop")
    count = int(model.rpartition("-")[2])
    assert len(tokens) == count
    text = "".join(token["delta"]["content"] for token in tokens)
    assert read_epoch(text) > 0
    assert text[20:] == write_rest(count)


async def test_usage_comes_last_where_it_is_asked_for(session: aiohttp.ClientSession) -> None:
    *events, _ = await ask(session, stream_options={"include_usage": True})
    *chunks, last = [json.loads(event) for event in events]
    assert {chunk["usage"] for chunk in chunks} == {None}
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 3


async def test_usage_does_not_come_unasked(session: aiohttp.ClientSession) -> None:
    *events, _ = await ask(session)
    assert not [event for event in events if "usage" in json.loads(event)]


async def test_a_connection_is_kept_for_the_next_answer(session: aiohttp.ClientSession) -> None:
    answers = [await ask(session, model="flat-5"), await ask(session, model="paced-1000-5")]
    assert [len(events) for events in answers] == [8, 8]
    assert session.connector is not None
    assert len(session.connector._conns) == 1


async def test_many_answers_at_once_are_all_whole(session: aiohttp.ClientSession) -> None:
    answers = await asyncio.gather(*(ask(session, model="flat-2000") for _ in range(20)))
    assert {len(events) for events in answers} == {2003}


async def test_each_token_of_a_paced_answer_is_a_write_of_its_own() -> None:
    transport = RecordingTransport()
    exchange = Exchange()
    exchange.connection_made(transport)
    body = json.dumps({"model": "paced-1000-5", "messages": MESSAGES, "stream": True}).encode()
    exchange.data_received(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body))
    exchange.data_received(body)
    await asyncio.wait_for(transport.done.wait(), 10)
    _head, *tokens, _ending = transport.writes
    assert [write.count(b"data: ") for write in tokens] == [1] * 5


async def test_a_paced_answer_ends_with_its_connection() -> None:
    transport = RecordingTransport()
    exchange = Exchange()
    exchange.connection_made(transport)
    body = json.dumps({"model": "paced-50-5", "messages": MESSAGES, "stream": True}).encode()
    exchange.data_received(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    exchange.connection_lost(None)
    await asyncio.sleep(0.1)
    assert len(transport.writes) == 2


def test_each_event_is_an_http_chunk_of_its_own() -> None:
    script = prepare_script(AnswerPlan(tokens=3), usage=False)
    size, _, rest = script.tokens[0].partition(b"\r\n")
    assert len(rest) == int(size, 16) + 2
    assert rest.startswith(b"data: {")
    assert rest.endswith(b"\n\n\r\n")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/chat/completions", {"model": "gpt-4o", "messages": MESSAGES, "stream": True}, 400),
        ("/v1/chat/completions", {"model": "flat-3", "messages": MESSAGES}, 400),
        ("/v1/chat/completions", {"model": "flat-3", "messages": MESSAGES, "stream": False}, 400),
        ("/v1/chat/completions", {"model": "flat-3", "messages": [], "stream": True}, 400),
        ("/v1/chat/completions", ["flat-3"], 400),
        ("/v1/embeddings", {"model": "flat-3"}, 404),
    ],
)
async def test_what_is_no_streamed_completion_is_an_error(
    session: aiohttp.ClientSession, path: str, body: object, status: int
) -> None:
    async with session.post(path, json=body) as response:
        assert response.status == status
        assert (await response.json())["error"]["message"]
