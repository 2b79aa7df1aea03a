"""A stock client with the service config repeats by itself what is safe to repeat, when the server asks it to."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from chatter_grpc._gen.chatter.v1 import (
    auth_service_pb2,
    auth_service_pb2_grpc,
    chat_service_pb2,
    chat_service_pb2_grpc,
    content_pb2,
)
from chatter_grpc.core.errors import ChatterError, Internal, RateLimited, StorageUnavailable
from tests.support.edge import DEADLINE, Account, Edge

pytestmark = pytest.mark.parametrize("databases", ["sqlite"], indirect=True)
SERVICE_CONFIG = Path(__file__).resolve().parents[3] / "clients" / "service_config.json"
ATTEMPTS = 4


class Failing:
    """Fails so many times, then does the work."""

    def __init__(self, work: Callable[..., Awaitable[Any]], error: ChatterError, times: int) -> None:
        self.calls = 0
        self._work = work
        self._error = error
        self._times = times

    async def __call__(self, *given: Any, **named: Any) -> Any:
        self.calls += 1
        if self.calls <= self._times:
            raise self._error
        return await self._work(*given, **named)


@pytest.fixture
async def stock(edge: Edge) -> AsyncIterator[grpc.aio.Channel]:
    """A channel that knows the service config and nothing else."""
    options = [("grpc.service_config", SERVICE_CONFIG.read_text())]
    async with grpc.aio.insecure_channel(edge.address, options=options) as channel:
        yield channel


async def read_conversation(channel: grpc.aio.Channel, account: Account, conversation_id: str) -> grpc.StatusCode:
    stub = chat_service_pb2_grpc.ChatServiceStub(channel)
    request = chat_service_pb2.GetConversationRequest(conversation_id=conversation_id)
    call = stub.GetConversation(request, metadata=tuple(account.metadata), timeout=DEADLINE)
    return await call.code()


@pytest.mark.parametrize(
    ("error", "times", "calls", "code"),
    [
        (StorageUnavailable(retry_after=0.001), 2, 3, grpc.StatusCode.OK),
        (RateLimited(limit_class="read", retry_after=0.001), 2, 3, grpc.StatusCode.OK),
        (StorageUnavailable(retry_after=0.001), 9, ATTEMPTS, grpc.StatusCode.UNAVAILABLE),
        # Told to wait longer than anyone would like to without a word.
        (RateLimited(limit_class="read", retry_after=60), 9, 1, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (Internal(), 9, 1, grpc.StatusCode.INTERNAL),
    ],
)
async def test_a_read_is_repeated_as_long_as_there_is_hope(
    edge: Edge,
    account: Account,
    stock: grpc.aio.Channel,
    conversation_id: str,
    monkeypatch: pytest.MonkeyPatch,
    error: ChatterError,
    times: int,
    calls: int,
    code: grpc.StatusCode,
) -> None:
    failing = Failing(edge.services.conversations.get, error, times)
    monkeypatch.setattr(edge.services.conversations, "get", failing)
    assert await read_conversation(stock, account, conversation_id) is code
    assert failing.calls == calls


async def test_what_is_not_safe_to_repeat_is_not_repeated(
    edge: Edge, stock: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = Failing(edge.services.auth.login, StorageUnavailable(retry_after=0.001), 1)
    monkeypatch.setattr(edge.services.auth, "login", failing)
    stub = auth_service_pb2_grpc.AuthServiceStub(stock)
    call = stub.Login(auth_service_pb2.LoginRequest(login="ada", password="correct"), timeout=DEADLINE)
    assert await call.code() is grpc.StatusCode.UNAVAILABLE
    assert failing.calls == 1


async def test_a_start_is_repeated_until_the_first_frame(
    edge: Edge, account: Account, stock: grpc.aio.Channel, conversation_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = Failing(edge.services.sending.send, StorageUnavailable(retry_after=0.001), 2)
    monkeypatch.setattr(edge.services.sending, "send", failing)
    request = chat_service_pb2.SendMessageRequest(
        request_id="1",
        conversation_id=conversation_id,
        parts=[content_pb2.ContentPart(text=content_pb2.TextPart(text="Hello?"))],
    )
    stub = chat_service_pb2_grpc.ChatServiceStub(stock)
    call = stub.SendMessage(request, metadata=tuple(account.metadata), timeout=DEADLINE)
    frames = [frame async for frame in call]
    assert frames[0].events[0].WhichOneof("event") == "run_started"
    assert frames[-1].events[-1].WhichOneof("event") == "completed"
    assert (failing.calls, len(edge.model.calls)) == (3, 1)
