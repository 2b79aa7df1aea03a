"""A whole server within the test's own loop, on a unix socket, everything real but the scripted model."""

import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from chatter_grpc._gen.chatter.v1 import chat_service_pb2, content_pb2, conversation_pb2
from chatter_grpc.adapters.langgraph.engine import LangGraphEngine
from chatter_grpc.adapters.memory.slots import MemorySlots
from chatter_grpc.adapters.memory.wakeups import MemoryWakeUps
from chatter_grpc.adapters.models.catalogue import ConfiguredModels
from chatter_grpc.adapters.models.facts import ModelFacts
from chatter_grpc.adapters.models.scripted import ScriptedChat
from chatter_grpc.core.background import Background
from chatter_grpc.core.clock import utc_now
from chatter_grpc.core.conversation_service import Conversations
from chatter_grpc.core.forking import Forking
from chatter_grpc.core.limits import Limit
from chatter_grpc.core.message_changes import MessageChanges
from chatter_grpc.core.message_service import Messages
from chatter_grpc.core.runs.committer import CommitSettings, GroupCommitter
from chatter_grpc.core.runs.reader import Readers
from chatter_grpc.core.runs.reaper import Reaper
from chatter_grpc.core.runs.run import LogCommitter
from chatter_grpc.core.runs.saving import Checkpointing
from chatter_grpc.core.runs.service import Runs
from chatter_grpc.core.runs.supervisor import RunSettings, Supervisor
from chatter_grpc.core.searching import Searches
from chatter_grpc.core.sending import Sending
from chatter_grpc.core.starting import RunLimits, Starting
from chatter_grpc.core.user_service import Users
from chatter_grpc.core.users import User
from chatter_grpc.rpc.cursors import CursorSigner
from chatter_grpc.rpc.page_tokens import PageTokenSigner
from chatter_grpc.rpc.peers import TrustedProxies
from chatter_grpc.rpc.policy import RateClass
from chatter_grpc.rpc.server import EdgeServer, EdgeSettings, Services
from chatter_grpc.rpc.services.run_stream import RunStreams
from chatter_grpc.rpc.services.system import ServerFacts
from tests.support.asking import asking_of
from tests.support.identity import PASSWORD, Replica

CHAT = "/chatter.v1.ChatService"
MODEL = "scripted/model"
MAX_REQUEST_BYTES = 64 * 1024
DEADLINE = 20.0
ANSWER = "Hello to you, as the script has it."
UNLIMITED = {rate_class: Limit(amount=1_000_000, seconds=60) for rate_class in RateClass}

Metadata = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How a call ended; ``responses`` are what came before, as bytes."""

    code: grpc.StatusCode
    message: str
    responses: list[bytes]
    trailing: dict[str, str | bytes]

    @property
    def details(self) -> list[Any]:
        """The details of the status, unpacked."""
        status = status_pb2.Status.FromString(self._binary("grpc-status-details-bin"))
        assert (status.code, status.message) == (self.code.value[0], self.message)
        unpacked = []
        for detail in status.details:
            message = getattr(error_details_pb2, detail.type_url.rpartition(".")[2])()
            assert detail.Unpack(message)
            unpacked.append(message)
        return unpacked

    @property
    def reason(self) -> str:
        """The reason of the one ErrorInfo; empty where the call went well."""
        if self.code is grpc.StatusCode.OK:
            return ""
        (info,) = self.all_of(error_details_pb2.ErrorInfo)
        assert info.domain == "chatter"
        return str(info.reason)

    @property
    def fields(self) -> dict[str, str]:
        """The descriptions of BadRequest by their fields."""
        return {
            each.field: each.description
            for bad in self.all_of(error_details_pb2.BadRequest)
            for each in bad.field_violations
        }

    def all_of(self, kind: type[Any]) -> list[Any]:
        """The details of one kind."""
        return [detail for detail in self.details if isinstance(detail, kind)]

    def _binary(self, key: str) -> bytes:
        value = self.trailing[key]
        assert isinstance(value, bytes)
        return value


@dataclass(slots=True, kw_only=True)
class Account:
    """A user with a session; ``metadata`` carries its access token."""

    user: User
    access_token: str
    refresh_token: str
    metadata: Metadata


@dataclass(slots=True, kw_only=True)
class Edge:
    """A running server and a channel to it."""

    server: EdgeServer
    address: str
    channel: grpc.aio.Channel
    replica: Replica
    services: Services
    supervisor: Supervisor
    readers: Readers
    model: ScriptedChat

    async def sign_in(self, username: str = "ada") -> Account:
        """Make an account and log it in."""
        user = await self.replica.sign_up(username)
        tokens = await self.replica.log_in(username)
        return Account(
            user=user,
            access_token=tokens.access_token,
            refresh_token=tokens.refresh_token,
            metadata=bearer(tokens.access_token),
        )

    async def sign_in_administrator(self, username: str = "root") -> Account:
        """Make an administrator's account and log it in."""
        user = await self.replica.accounts.create_admin(
            username=username, email=f"{username}@example.org", password=PASSWORD
        )
        tokens = await self.replica.log_in(username)
        return Account(
            user=user,
            access_token=tokens.access_token,
            refresh_token=tokens.refresh_token,
            metadata=bearer(tokens.access_token),
        )

    async def new_conversation(self, credentials: Metadata, /, **given: Any) -> conversation_pb2.Conversation:
        """Make a conversation."""
        request = chat_service_pb2.CreateConversationRequest(**given)
        answer = await self.call(f"{CHAT}/CreateConversation", request, credentials)
        assert answer.code is grpc.StatusCode.OK, answer.details
        return chat_service_pb2.CreateConversationResponse.FromString(answer.responses[0]).conversation

    async def send(self, metadata: Metadata, conversation_id: str, text: str, request_id: str) -> Answer:
        """Send a message and read its run to the end."""
        part = content_pb2.ContentPart(text=content_pb2.TextPart(text=text))
        request = chat_service_pb2.SendMessageRequest(
            request_id=request_id, conversation_id=conversation_id, parts=[part]
        )
        return await self.call(f"{CHAT}/SendMessage", request, metadata)

    async def call(self, method: str, request: Any = b"", metadata: Metadata = ()) -> Answer:
        """Call any method, with a message or with any bytes, and read to the end."""
        data = request if isinstance(request, bytes) else request.SerializeToString()
        # Unary methods answer like streams of one message.
        stub: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = self.channel.unary_stream(method)
        call = stub(data, metadata=tuple(metadata), timeout=DEADLINE)
        responses: list[bytes] = []
        with suppress(grpc.aio.AioRpcError):
            async for response in call:
                responses.append(response)  # noqa: PERF401 - what comes before an error counts too
        trailing: Any = await call.trailing_metadata()
        return Answer(
            code=await call.code(), message=await call.details(), responses=responses, trailing=dict(trailing or ())
        )


@dataclass(slots=True, kw_only=True)
class EdgeOptions:
    """What a test may want otherwise."""

    limits: Mapping[RateClass, Limit] = field(default_factory=lambda: UNLIMITED)
    model: ScriptedChat
    show_requests: bool = True
    streams_per_caller: int = 0
    trusted_proxies: Sequence[str] = ()


def bearer(token: str) -> Metadata:
    """Metadata with credentials."""
    return (("authorization", f"Bearer {token}"),)


@cache
def keep_grpc_up() -> None:
    """Keep gRPC's poller until the process ends.

    Otherwise its thread is joined, which blocks, where the garbage collector happens to find the last server.
    """
    grpc.aio.init_grpc_aio()


@asynccontextmanager
async def serve_edge(replica: Replica, log: LogCommitter, options: EdgeOptions) -> AsyncIterator[Edge]:
    """Run a server over a replica's identity and storage until the block ends."""
    keep_grpc_up()
    async with AsyncExitStack() as stack:
        socket = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "edge.sock"
        models = ConfiguredModels([], facts=ModelFacts({}), default_model=MODEL, further={MODEL: options.model})
        stack.push_async_callback(models.close)
        wakeups = MemoryWakeUps()
        committer = GroupCommitter(log, wakeups.notify, CommitSettings())
        storage = replica.storage
        asking = asking_of(models)
        engine = LangGraphEngine(asking, Checkpointing(storage, committer))
        supervisor = Supervisor("test", storage, engine, committer, wakeups, RunSettings(), utc_now)
        readers = Readers(storage, wakeups, supervisor.tail)
        reaper = Reaper(storage=storage, supervisor=supervisor, wakeups=wakeups, clock=utc_now)
        runs = Runs(storage, supervisor, readers, utc_now, reaper)
        starting = Starting(storage, supervisor, runs, asking, wakeups, utc_now, RunLimits())
        services = Services(
            auth=replica.auth,
            api_keys=replica.api_keys,
            users=Users(
                storage=storage, announce=replica.watch.apply, cancel_runs=supervisor.cancel_here, clock=utc_now
            ),
            conversations=Conversations(
                storage=storage, models=models, cancel_runs=supervisor.cancel_here, clock=utc_now
            ),
            forking=Forking(storage, utc_now),
            messages=Messages(storage),
            message_changes=MessageChanges(storage, utc_now),
            searches=Searches(storage),
            sending=Sending(starting),
            runs=runs,
            streams=RunStreams(CursorSigner(b"c" * 32), replica.watch),
            models=models,
            authenticator=replica.authenticator,
            limiter=replica.limiter,
            slots=MemorySlots(),
            storage=storage,
            page_tokens=PageTokenSigner(b"p" * 32),
        )
        address = f"unix:{socket}"
        server = EdgeServer(services, edge_settings(address, options))
        background = await stack.enter_async_context(Background())
        background.start("wake-ups", wakeups.run())
        background.start("committer", committer.run())
        background.start("supervisor", supervisor.run())
        await server.start()
        for stop in (supervisor.stop, server.stop, supervisor.stop):  # Last calls leave work, too.
            stack.push_async_callback(stop, 0)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
        yield Edge(
            server=server,
            address=address,
            channel=channel,
            replica=replica,
            services=services,
            supervisor=supervisor,
            readers=readers,
            model=options.model,
        )


def edge_settings(address: str, options: EdgeOptions) -> EdgeSettings:
    """The settings of a test's server."""
    return EdgeSettings(
        listen=address,
        facts=ServerFacts(version="0.0.0-test", registration_open=True, max_request_bytes=MAX_REQUEST_BYTES),
        limits=options.limits,
        streams_per_caller=options.streams_per_caller,
        trusted_proxies=TrustedProxies(options.trusted_proxies),
        show_requests=options.show_requests,
    )
