"""What the tests of the chats share: what fixtures make, a failed call, a server of raw bytes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from chatter_grpc.adapters.models.openai import OpenAIChat
from chatter_grpc.core.errors import ChatterError
from chatter_grpc.core.models import ChatModel, Finished, ModelDelta, ModelRequest

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

KEY = "sk-planted-secret-key"
"""The key that the stand-in asks for; it may appear in no log line and no error."""

MakeChat = Callable[..., OpenAIChat]
"""Makes a chat with the stand-in; takes settings of ``EndpointConfig``."""


class Pauses:
    """Stands in for sleeping between attempts: returns at once and remembers."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


async def failure_of(
    chat: ChatModel, request: ModelRequest, *, provider: str = "stand-in"
) -> tuple[ChatterError, list[ModelDelta]]:
    """Return the error that ends a call, and the deltas before it."""
    deltas: list[ModelDelta] = []

    async def read() -> None:
        async for batch in chat.stream(request):
            deltas.extend(batch)

    with pytest.raises(ChatterError) as caught:
        await read()
    assert not any(isinstance(delta, Finished) for delta in deltas)
    assert caught.value.metadata["provider"] == provider
    return caught.value, deltas


@asynccontextmanager
async def raw_server(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """A server that says whatever ``serve`` says, after it has read a request's head; its base URL."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(10):
                await reader.readuntil(b"\r\n\r\n")
                await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
