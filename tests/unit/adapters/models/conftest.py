"""Fixtures of the model adapters' tests: the stand-in, and chats that talk to it."""

from collections.abc import AsyncIterator

import pytest

from chatter_grpc.adapters.models.endpoint import EndpointConfig
from chatter_grpc.adapters.models.http import HttpPool
from chatter_grpc.adapters.models.openai import OpenAIChat
from tests.support.chats import KEY, MakeChat, Pauses
from tests.support.openai_standin import OpenAIStandIn


@pytest.fixture
async def provider() -> AsyncIterator[OpenAIStandIn]:
    async with OpenAIStandIn(api_key=KEY) as running:
        yield running


@pytest.fixture
async def pool() -> AsyncIterator[HttpPool]:
    running = HttpPool(max_connections=20)
    yield running
    await running.close()


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def make_chat(provider: OpenAIStandIn, pool: HttpPool, pauses: Pauses) -> MakeChat:
    """Returns a maker of chats with the stand-in, which takes settings of ``EndpointConfig``."""

    def make(**settings: object) -> OpenAIChat:
        defaults: dict[str, object] = {
            "provider": "stand-in",
            "base_url": provider.base_url,
            "api_key": KEY,
            "models": ("gpt",),
        }
        endpoint = EndpointConfig(**(defaults | settings))  # type: ignore[arg-type]
        return OpenAIChat(endpoint, pool, sleep=pauses)

    return make


@pytest.fixture
def chat(make_chat: MakeChat) -> OpenAIChat:
    return make_chat()
