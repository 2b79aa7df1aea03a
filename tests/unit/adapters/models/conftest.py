"""Fixtures of the model adapters' tests: the stand-in, and chats that talk to it."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from chatter_grpc.adapters.models.endpoint import EndpointConfig
from chatter_grpc.adapters.models.http import HttpPool
from chatter_grpc.adapters.models.langchain.chat import LangChainChat
from chatter_grpc.adapters.models.openai import OpenAIChat
from tests.support.chats import KEY, MakeChat, Pauses
from tests.support.hosted import HOSTED, Hosted, MakeHostedChat
from tests.support.openai_standin import OpenAIStandIn
from tests.support.standin import StandIn


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


@pytest.fixture(params=HOSTED)
def hosted(request: pytest.FixtureRequest) -> Hosted:
    """Each provider that is called through LangChain, one after the other."""
    return HOSTED[request.param]


@pytest.fixture
async def standin(hosted: Hosted) -> AsyncIterator[StandIn]:
    """What stands in for it, which is to find nothing wrong with what it is asked."""
    async with hosted.standin(api_key=KEY) as running:
        yield running
        assert running.refused == []


@pytest.fixture
def make_hosted_chat(hosted: Hosted, standin: StandIn, pool: HttpPool, pauses: Pauses) -> Iterator[MakeHostedChat]:
    """Returns a maker of chats with the stand-in, which takes settings of ``EndpointConfig``."""
    made: list[LangChainChat] = []

    async def make(**settings: Any) -> LangChainChat:
        made.append(await hosted.chat(standin, pool, pauses=pauses, **settings))
        return made[-1]

    yield make
    for chat in made:
        chat.close()


@pytest.fixture
async def hosted_chat(make_hosted_chat: MakeHostedChat) -> LangChainChat:
    return await make_hosted_chat()
