"""Our whole server as a side: the product's own process on embedded defaults, with an account and conversations."""

import asyncio
import json
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from benchmarks.answers import AnswerPlan
from benchmarks.load.calls import CallSpec
from benchmarks.load.folding import Wire
from benchmarks.processes import Child, find_free_port, python_command, run_child
from benchmarks.sides import GET_SERVER_INFO, SEND_MESSAGE, provider_url, write_request
from chatter_grpc._gen.chatter.v1.auth_service_pb2 import LoginRequest, RegisterRequest
from chatter_grpc._gen.chatter.v1.auth_service_pb2_grpc import AuthServiceStub
from chatter_grpc._gen.chatter.v1.chat_service_pb2 import CreateConversationRequest
from chatter_grpc._gen.chatter.v1.chat_service_pb2_grpc import ChatServiceStub
from chatter_grpc._gen.chatter.v1.system_service_pb2 import GetServerInfoRequest

CALL_DEADLINE = 30.0
READY_DEADLINE = 60.0
USERNAME = "benchmark"
SERVE = python_command("chatter_grpc", "serve")


def write_environment(port: int, data: Path, provider: Child, plan: AnswerPlan) -> dict[str, str]:
    """This process's environment with the server's settings: its defaults, but limits that no benchmark reaches."""
    settings = {
        "CHATTER_LISTEN": f"127.0.0.1:{port}",
        "CHATTER_DATA_DIR": str(data),
        "CHATTER_OPENAI_BASE_URL": provider_url(provider),
        "CHATTER_OPENAI_MODELS": json.dumps([plan.model]),
        "CHATTER_ACCESS_TOKEN_MINUTES": "60",
        "CHATTER_READ_CALLS_PER_MINUTE": "1000000",
        "CHATTER_WRITE_CALLS_PER_MINUTE": "1000000",
        "CHATTER_START_CALLS_PER_MINUTE": "1000000",
        "CHATTER_RUNS_PER_OWNER": "1000000",
        "CHATTER_STREAMS_PER_CALLER": "0",
    }
    return {**{name: value for name, value in os.environ.items() if not name.startswith("CHATTER_")}, **settings}


class OurSide:
    """The server with one account logged in."""

    name = "chatter-grpc"
    wire = Wire.RUN

    def __init__(self, child: Child, channel: grpc.aio.Channel, access_token: str) -> None:
        self.child = child
        self._chat = ChatServiceStub(channel)
        self._metadata = (("authorization", f"Bearer {access_token}"),)

    async def prepare_streams(self, count: int, plan: AnswerPlan) -> tuple[CallSpec, ...]:
        """A question in each of `count` new conversations."""
        return tuple([await self._prepare_stream(plan) for _ in range(count)])

    def prepare_info(self) -> CallSpec:
        """GetServerInfo with the account's token."""
        request = GetServerInfoRequest().SerializeToString()
        return CallSpec(path=GET_SERVER_INFO, request=request, metadata=self._metadata)

    async def _prepare_stream(self, plan: AnswerPlan) -> CallSpec:
        response = await self._chat.CreateConversation(
            CreateConversationRequest(title="Benchmark"), metadata=self._metadata, timeout=CALL_DEADLINE
        )
        request = write_request(plan, conversation_id=response.conversation.id)
        return CallSpec(path=SEND_MESSAGE, request=request.SerializeToString(), metadata=self._metadata)


@asynccontextmanager
async def start_ours(scratch: Path, provider: Child, plan: AnswerPlan) -> AsyncIterator[OurSide]:
    """`python -m chatter_grpc serve` on a data directory of its own, its models served by the stand-in.

    Raises ProcessFailed where it does not come up, grpc.RpcError where it refuses to register or log in.
    """
    port = find_free_port()
    environment = write_environment(port, scratch / "chatter", provider, plan)
    async with (
        run_child("chatter-grpc", SERVE, port=port, logs=scratch, env=environment) as child,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield OurSide(child, channel, await open_account(channel))


async def open_account(channel: grpc.aio.Channel) -> str:
    """Register and log in; the access token."""
    await asyncio.wait_for(channel.channel_ready(), READY_DEADLINE)
    auth = AuthServiceStub(channel)
    password = secrets.token_urlsafe(16)
    account = RegisterRequest(username=USERNAME, email="benchmark@example.org", password=password)
    await auth.Register(account, timeout=CALL_DEADLINE)
    session = await auth.Login(LoginRequest(login=USERNAME, password=password), timeout=CALL_DEADLINE)
    return session.tokens.access_token
