"""Clients of a fleet that call with one account's key."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import grpc

from chatter_client import ApiKey
from chatter_client.aio import Client, connect
from chatter_grpc._gen.chatter.v1 import chat_service_pb2
from chatter_grpc._gen.chatter.v1.chat_service_pb2_grpc import ChatServiceStub
from chatter_grpc._gen.chatter.v1.run_service_pb2_grpc import RunServiceStub
from tests.chaos.readers import RESUMPTION, patiently
from tests.chaos.servers import Fleet

# A connection that is lost is tried again at once, as soon as the server may be back.
OPTIONS: Final = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500))


@dataclass(kw_only=True)
class Callers:
    """Clients of a fleet with one account's key: the real one through each proxy, and channels past them."""

    metadata: Sequence[tuple[str, str]]
    clients: Sequence[Client]
    channels: Sequence[grpc.aio.Channel]

    def chat(self, server: int = 0) -> Any:
        """The conversations of a server."""
        return ChatServiceStub(self.channels[server])

    def runs(self, server: int = 0) -> Any:
        """The runs of a server."""
        return RunServiceStub(self.channels[server])


@asynccontextmanager
async def callers_of(fleet: Fleet, name: str) -> AsyncIterator[Callers]:
    """Make an account, and clients that call with its key."""
    key = await fleet.api_key(name)
    addresses = [proxy.address for proxy in fleet.proxies]
    async with AsyncExitStack() as stack:
        clients = []
        for number in range(len(addresses)):
            # Each begins at a proxy of its own, and goes to the others where that leads nowhere.
            target = "ipv4:" + ",".join(addresses[number:] + addresses[:number])
            client = connect(target, credentials=ApiKey(key=key), tls=False, options=OPTIONS, resumption=RESUMPTION)
            clients.append(await stack.enter_async_context(client))
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(server.address, options=OPTIONS))
            for server in fleet.servers
        ]
        yield Callers(metadata=[("authorization", f"Bearer {key}")], clients=clients, channels=channels)


async def new_conversation(callers: Callers) -> str:
    """Make a conversation, and return its id."""
    request = chat_service_pb2.CreateConversationRequest()
    response = await patiently(callers.chat().CreateConversation, request, callers.metadata)
    return str(response.conversation.id)
