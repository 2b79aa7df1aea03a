"""Events that are no chunks break a stream; those that say nothing are passed over."""

import asyncio

import pytest

from chatter_grpc.core.errors import ProviderStreamBroken
from chatter_grpc.core.models import Finished
from tests.support.chats import MakeChat, failure_of, raw_server
from tests.support.deltas import ask, deltas_of, text_of

pytestmark = pytest.mark.platform("T10")

NO_CHUNKS = {
    "content in parts": b'{"choices": [{"delta": {"content": ["a", "list"]}}]}',
    "choices that are no list": b'{"choices": {"not": "a list"}}',
    "a list": b"[1, 2]",
    "null": b"null",
    "a string": b'"text"',
    "bytes that are no text": b"\xff\xfe",
    "content that is no text": b'{"choices": [{"delta": {"content": "\xff"}}]}',
    "too deep without end": b'{"x":' + b"[" * 100_000,
    "too deep": b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a count that is too long": b'{"usage": {"prompt_tokens": ' + b"9" * 5000 + b"}}",
    "a count that is not whole": b'{"usage": {"prompt_tokens": 1.5}}',
    "an error that is a string": b'{"error": "overloaded"}',
}


@pytest.mark.parametrize("event", NO_CHUNKS.values(), ids=NO_CHUNKS.keys())
async def test_events_that_are_no_chunks_break_the_stream(make_chat: MakeChat, event: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
        writer.write(head + b'data: {"choices": [{"delta": {"content": "so"}}]}\n\ndata: ' + event + b"\n\n")
        await writer.drain()

    async with raw_server(serve) as base_url:
        error, deltas = await failure_of(make_chat(base_url=base_url), ask("hello"))
    assert isinstance(error, ProviderStreamBroken)
    assert text_of(deltas) == "so"


SAYING_NOTHING = {
    "no data": b"",
    "an empty object": b"{}",
    "nulls": b'{"choices": null, "usage": null}',
    "no delta": b'{"choices": [{"delta": null}]}',
    "another answer": b'{"choices": [{"index": 1, "delta": {"content": "another answer"}}]}',
    "unknown fields": b'{"choices": [{"delta": {"content": null, "tool_calls": [{"x": [1]}]}}], "y": "\xff"}',
    "a count below nothing": b'{"usage": {"prompt_tokens": -1, "completion_tokens": 3}}',
    "a count beyond all bounds": b'{"usage": {"prompt_tokens": 99999999999999999999}}',
}


@pytest.mark.parametrize("event", SAYING_NOTHING.values(), ids=SAYING_NOTHING.keys())
async def test_events_that_say_nothing_are_passed_over(make_chat: MakeChat, event: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
        end = b'data: {"choices": [{"delta": {"content": "so"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
        writer.write(head + b"data: " + event + b"\n\n" + end)
        await writer.drain()

    async with raw_server(serve) as base_url:
        deltas = await deltas_of(make_chat(base_url=base_url), ask("hello"))
    assert text_of(deltas) == "so"
    assert isinstance(deltas[-1], Finished)
    assert len(deltas) == 2
