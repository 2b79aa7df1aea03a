"""What the tests of budgets share: a provider that speaks the real protocol, and models that it serves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from chatter_grpc.adapters.models.endpoint import EndpointConfig
from chatter_grpc.adapters.models.http import HttpPool
from chatter_grpc.adapters.models.openai import OpenAIChat
from chatter_grpc.core.budgets import Reservation
from chatter_grpc.core.storage import Storage
from tests.support.openai_standin import OpenAIStandIn

# "Hello?", what is said where a test says nothing else, counts so many tokens by the server's estimate.
HELLO = 2


@dataclass(frozen=True, slots=True)
class Site:
    """A provider, and a chat with it that gives up at the first failure."""

    provider: OpenAIStandIn
    chat: OpenAIChat

    @property
    def asked_for(self) -> list[int | None]:
        """How much output each call was to have at most."""
        return [call.body.get("max_tokens") for call in self.provider.calls]


@asynccontextmanager
async def budget_site() -> AsyncIterator[Site]:
    """Run a provider while the block lasts."""
    async with OpenAIStandIn(api_key="sk-test") as provider:
        pool = HttpPool(max_connections=20)
        endpoint = EndpointConfig(
            provider="scripted", base_url=provider.base_url, api_key="sk-test", models=("model",), max_attempts=1
        )
        try:
            yield Site(provider, OpenAIChat(endpoint, pool))
        finally:
            await pool.close()


async def reserved(storage: Storage, run_id: str) -> list[Reservation]:
    """Return what the ledger has of a run."""
    async with storage.read() as tx:
        return list(await tx.ledger.read(run_id))
