"""The servers that are compared: what the benchmarks need to know of each, and the simple ones."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from benchmarks.answers import AnswerPlan
from benchmarks.load.calls import CallSpec
from benchmarks.load.folding import Wire
from benchmarks.processes import Child, find_free_port, python_command, run_child
from chatter_grpc._gen.chatter.v1.chat_service_pb2 import SendMessageRequest
from chatter_grpc._gen.chatter.v1.content_pb2 import ContentPart, TextPart
from chatter_grpc._gen.chatter.v1.conversation_pb2 import ModelSettings
from chatter_grpc._gen.chatter.v1.system_service_pb2 import GetServerInfoRequest

SEND_MESSAGE = "/chatter.v1.ChatService/SendMessage"
GET_SERVER_INFO = "/chatter.v1.SystemService/GetServerInfo"
OURS = "chatter-grpc"
AFTERNOON = "afternoon server"
BARE = "bare grpc.aio"
FASTAPI = "FastAPI events"
DIRECT = "provider itself"
QUESTION = "Which of the two bridges was finished first, and who paid for it? Answer in a few paragraphs."


class Side(Protocol):
    """A server process that streams answers."""

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def child(self) -> Child:
        """Its process."""

    @property
    def wire(self) -> Wire:
        """What its streams are made of."""

    async def prepare_streams(self, count: int, plan: AnswerPlan) -> tuple[CallSpec, ...]:
        """Calls that each start one stream of the planned answer, good for one use."""


class InfoSide(Side, Protocol):
    """A side that answers unary calls too."""

    def prepare_info(self) -> CallSpec:
        """A call of GetServerInfo that may be repeated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainSide:
    """A server without accounts and conversations."""

    name: str
    child: Child
    wire: Wire = Wire.TEXT

    async def prepare_streams(self, count: int, plan: AnswerPlan) -> tuple[CallSpec, ...]:
        """The same call, `count` times."""
        request = write_request(plan, conversation_id="none")
        return (CallSpec(path=SEND_MESSAGE, request=request.SerializeToString()),) * count

    def prepare_info(self) -> CallSpec:
        """GetServerInfo without credentials."""
        return CallSpec(path=GET_SERVER_INFO, request=GetServerInfoRequest().SerializeToString())


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSide:
    """A server that streams server-sent events over HTTP."""

    name: str
    child: Child
    wire: Wire
    path: str

    async def prepare_streams(self, count: int, plan: AnswerPlan) -> tuple[CallSpec, ...]:
        """The same call, `count` times."""
        if self.wire is Wire.COMPLETIONS:
            question = [{"role": "user", "content": QUESTION}]
            body = {"model": plan.model, "messages": question, "stream": True}
        else:
            body = {"text": QUESTION}
        return (CallSpec(path=self.path, request=json.dumps(body).encode()),) * count


def call_directly(provider: Child) -> HttpSide:
    """The provider itself, with nothing between it and the client."""
    return HttpSide(name=DIRECT, child=provider, wire=Wire.COMPLETIONS, path="/v1/chat/completions")


def write_request(plan: AnswerPlan, *, conversation_id: str) -> SendMessageRequest:
    """A question, to be answered by the model that follows the plan."""
    return SendMessageRequest(
        request_id=str(uuid4()),
        conversation_id=conversation_id,
        parts=[ContentPart(text=TextPart(text=QUESTION))],
        overrides=ModelSettings(model=f"openai/{plan.model}"),
    )


@asynccontextmanager
async def start_provider(scratch: Path) -> AsyncIterator[Child]:
    """The provider's stand-in."""
    port = find_free_port()
    command = python_command("benchmarks.provider", "--port", str(port))
    async with run_child("provider", command, port=port, logs=scratch) as child:
        yield child


def provider_url(provider: Child) -> str:
    """What an OpenAI client takes as its base URL."""
    return f"http://127.0.0.1:{provider.port}/v1"


@asynccontextmanager
async def start_bare(scratch: Path) -> AsyncIterator[PlainSide]:
    """Bare grpc.aio handlers, which need no provider."""
    port = find_free_port()
    command = python_command("benchmarks.bare", "--port", str(port))
    async with run_child("bare", command, port=port, logs=scratch) as child:
        yield PlainSide(name=BARE, child=child)


@asynccontextmanager
async def start_afternoon(scratch: Path, provider: Child, plan: AnswerPlan) -> AsyncIterator[PlainSide]:
    """The afternoon server, with the plan's model."""
    port = find_free_port()
    command = python_command(
        "benchmarks.afternoon",
        *("--port", str(port), "--base-url", provider_url(provider), "--model", plan.model),
    )
    async with run_child("afternoon", command, port=port, logs=scratch) as child:
        yield PlainSide(name=AFTERNOON, child=child)


@asynccontextmanager
async def start_fastapi(scratch: Path, provider: Child, plan: AnswerPlan) -> AsyncIterator[HttpSide]:
    """FastAPI's events, with the plan's model."""
    port = find_free_port()
    command = python_command(
        "benchmarks.fastapi_sse",
        *("--port", str(port), "--base-url", provider_url(provider), "--model", plan.model),
    )
    async with run_child("fastapi", command, port=port, logs=scratch) as child:
        yield HttpSide(name=FASTAPI, child=child, wire=Wire.EVENTS, path="/chat")
