"""Our whole server as a side: the product's own process, by default on embedded defaults, with an account."""

import asyncio
import json
import os
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from benchmarks.answers import AnswerPlan
from benchmarks.load.calls import CallSpec
from benchmarks.load.folding import Wire
from benchmarks.processes import Child, ProcessFailed, find_free_port, python_command, run_child
from benchmarks.sides import GET_SERVER_INFO, OURS, SEND_MESSAGE, provider_url, write_request
from chatter_grpc._gen.chatter.v1.auth_service_pb2 import LoginRequest, RegisterRequest
from chatter_grpc._gen.chatter.v1.auth_service_pb2_grpc import AuthServiceStub
from chatter_grpc._gen.chatter.v1.chat_service_pb2 import CreateConversationRequest, SendMessageRequest
from chatter_grpc._gen.chatter.v1.chat_service_pb2_grpc import ChatServiceStub
from chatter_grpc._gen.chatter.v1.run_service_pb2 import WatchRunRequest
from chatter_grpc._gen.chatter.v1.system_service_pb2 import GetServerInfoRequest

CALL_DEADLINE = 30.0
READY_DEADLINE = 60.0
USERNAME = "benchmark"
SERVE = python_command("chatter_grpc", "serve")
SERVE_UNLOGGED = python_command("benchmarks.unlogged")
MIGRATE = python_command("chatter_grpc", "migrate")
SECRET = secrets.token_urlsafe(48)
WATCH_RUN = "/chatter.v1.RunService/WatchRun"


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
        "CHATTER_METRICS_LISTEN": f"127.0.0.1:{find_free_port()}",
    }
    return {**{name: value for name, value in os.environ.items() if not name.startswith("CHATTER_")}, **settings}


class OurSide:
    """The server with one account logged in."""

    wire = Wire.RUN

    def __init__(self, child: Child, channel: grpc.aio.Channel, access_token: str, name: str = OURS) -> None:
        self.name = name
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

    async def start_runs(self, count: int, plan: AnswerPlan) -> list[str]:
        """Start runs that nobody reads, and return their ids."""
        return [await self._start_run(spec) for spec in await self.prepare_streams(count, plan)]

    def prepare_watch(self, run_id: str) -> CallSpec:
        """A stream of a run from its beginning."""
        request = WatchRunRequest(run_id=run_id).SerializeToString()
        return CallSpec(path=WATCH_RUN, request=request, metadata=self._metadata)

    async def _start_run(self, spec: CallSpec) -> str:
        request = SendMessageRequest.FromString(spec.request)
        stream = self._chat.SendMessage(request, metadata=self._metadata, timeout=CALL_DEADLINE)
        async for frame in stream:
            for event in frame.events:
                if event.HasField("run_started"):
                    stream.cancel()
                    return event.run_started.run_id
        raise RuntimeError("a run began without its first event")

    async def _prepare_stream(self, plan: AnswerPlan) -> CallSpec:
        response = await self._chat.CreateConversation(
            CreateConversationRequest(title="Benchmark"), metadata=self._metadata, timeout=CALL_DEADLINE
        )
        request = write_request(plan, conversation_id=response.conversation.id)
        return CallSpec(path=SEND_MESSAGE, request=request.SerializeToString(), metadata=self._metadata)


@asynccontextmanager
async def start_ours(
    scratch: Path,
    provider: Child,
    plan: AnswerPlan,
    *,
    name: str = OURS,
    command: Sequence[str] = SERVE,
    database: str | None = None,
) -> AsyncIterator[OurSide]:
    """`python -m chatter_grpc serve` on a data directory of its own, its models served by the stand-in.

    With the URL of a `database` that is migrated, it works on that. Raises ProcessFailed where it does not come up,
    grpc.RpcError where it refuses to register or log in.
    """
    port = find_free_port()
    slug = name.replace(" ", "-")
    environment = write_environment(port, scratch / slug, provider, plan)
    if database is not None:
        environment |= on_database(database)
    async with (
        run_child(slug, command, port=port, logs=scratch, env=environment) as child,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield OurSide(child, channel, await open_account(channel, USERNAME + secrets.token_hex(4)), name)


def on_database(url: str) -> dict[str, str]:
    """The settings of servers that share a database."""
    return {"CHATTER_DATABASE_URL": url, "CHATTER_SECRET": SECRET}


async def migrate(url: str) -> None:
    """Make the tables of a database. Raises ProcessFailed where that fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CHATTER_")}
    process = await asyncio.create_subprocess_exec(
        *MIGRATE,
        env={**environment, **on_database(url)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), READY_DEADLINE)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise ProcessFailed(f"the tables were not made within {READY_DEADLINE:g} s") from None
    if process.returncode:
        raise ProcessFailed(f"the tables could not be made:\n{output.decode(errors='replace')}")


async def open_account(channel: grpc.aio.Channel, username: str) -> str:
    """Register and log in; the access token."""
    await asyncio.wait_for(channel.channel_ready(), READY_DEADLINE)
    auth = AuthServiceStub(channel)
    password = secrets.token_urlsafe(16)
    account = RegisterRequest(username=username, email=f"{username}@example.org", password=password)
    await auth.Register(account, timeout=CALL_DEADLINE)
    session = await auth.Login(LoginRequest(login=username, password=password), timeout=CALL_DEADLINE)
    return session.tokens.access_token
