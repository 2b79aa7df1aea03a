"""What all stand-ins for providers share: a server that checks requests, answers them by plan, and fails on request.

In the test's own process::

    async with OpenAIStandIn(api_key="sk-test") as provider:
        provider.plan(Plan(status=429, retry_after="0"), Plan(text="Hello there"))   # the next two requests
        ...                                           # call provider.base_url with the key
        call = provider.calls[-1]                     # what was asked, and how far the answer got
        await provider.wait_until_closed(call)        # the client's connection is gone

A request is answered by the next plan that was queued, else by what its model's name says (``Plan.named``), so that
faults can be had from outside by naming a model: ``gpt?fault=cut&after=3``. No plan is used up by a request that is
refused as wrong.
"""

import asyncio
import json
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from tests.support.openai_plans import Fault, Plan

_LONGEST_REQUEST_BYTES = 64 * 1024 * 1024


@dataclass(slots=True, eq=False)
class Connection:
    """A client's connection; times are by ``time.monotonic()``."""

    opened_at: float
    closed_at: float | None = None
    closed: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True, eq=False)
class Call:
    """A request that was answered: its body, and how much of the answer's content was sent."""

    body: dict[str, Any]
    plan: Plan
    connection: Connection
    model: str = ""
    sent: list[str] = field(default_factory=list)
    complete: bool = False
    """Whether the answer was sent to its end."""


class _CountingServer(web.Server):
    """Keeps a record of connections, each from when it is made until it is lost."""

    def __init__(self, handler: Any) -> None:
        super().__init__(handler, handler_cancellation=True, access_log=None)
        self.records: dict[RequestHandler, Connection] = {}
        self.open = 0

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self.records[handler] = Connection(time.monotonic())
        self.open += 1

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        record = self.records.pop(handler)
        record.closed_at = time.monotonic()
        record.closed.set()
        self.open -= 1


class Answer(ABC):
    """Sends one answer as its plan says; how it is written is the provider's."""

    def __init__(self, request: web.BaseRequest, response: web.StreamResponse, call: Call) -> None:
        self._request = request
        self._response = response
        self.call = call
        self.plan = call.plan

    async def send(self, said: str, limit: int | None) -> AsyncIterator[str]:
        """Send the answer to what the user said, yielding after each content delta."""
        plan, content = self.plan, self.plan.content(said)
        limit = len(content) if limit is None or plan.unlimited else limit
        await self.begin()
        await asyncio.sleep(plan.first_delay)
        for piece in plan.reasoning:
            await self.think(piece)
        if plan.tool_call:
            await self.call_tool()
        for piece in content[:limit]:
            if await self._interrupt():
                return
            await asyncio.sleep(plan.delay if self.call.sent else 0.0)
            await self.say(piece)
            self.call.sent.append(piece)
            yield piece
        if await self._interrupt():
            return
        await self.finish("length" if limit < len(content) else plan.finish_reason)
        self.call.complete = True
        if plan.linger:
            await asyncio.Event().wait()

    @abstractmethod
    async def begin(self) -> None:
        """Send what comes before all pieces."""

    @abstractmethod
    async def think(self, piece: str) -> None:
        """Send a piece of reasoning."""

    @abstractmethod
    async def call_tool(self) -> None:
        """Send a call of a tool, in pieces."""

    @abstractmethod
    async def say(self, piece: str) -> None:
        """Send a piece of text."""

    @abstractmethod
    async def finish(self, reason: str | None) -> None:
        """Send the reason for the end where there is one, and what else the plan has after all pieces."""

    @abstractmethod
    async def keep_alive(self) -> None:
        """Send what only says that the connection is alive."""

    @abstractmethod
    async def garble(self) -> None:
        """Send what cannot be read."""

    @abstractmethod
    async def fail(self) -> None:
        """Report an error within the stream."""

    async def write(self, data: bytes) -> None:
        """Send bytes, one by one where the plan says so."""
        if not self.plan.byte_by_byte:
            await self._response.write(data)
            return
        for byte in data:
            await self._response.write(bytes([byte]))
            # Lets the client's side read it before the next one comes.
            await asyncio.sleep(0)

    async def _interrupt(self) -> bool:
        """Do what is due after as many deltas as were sent; return whether the answer is over with that."""
        plan = self.plan
        if gate := plan.gates.get(len(self.call.sent)):
            await gate.wait()
        if len(self.call.sent) != plan.after:
            return False
        match plan.fault:
            case None:
                return False
            case Fault.CUT:
                assert self._request.transport is not None
                self._request.transport.close()
            case Fault.STALL:
                await asyncio.Event().wait()
            case Fault.CHATTER:
                while True:
                    await self.keep_alive()
                    await asyncio.sleep(0.01)
            case Fault.GARBAGE:
                await self.garble()
            case Fault.ERROR:
                await self.fail()
            case Fault.UNFRAMED:
                assert self._request.transport is not None
                self._request.transport.write(b"this is no length of a chunk\r\n")
                await asyncio.Event().wait()
        return True


class StandIn(ABC):
    """The server, as an async context manager; see the module's docstring."""

    content_type: str

    def __init__(self, *, api_key: str = "sk-test", port: int = 0) -> None:
        """Take the key that requests must carry, and the port; 0 takes a free one."""
        self.api_key = api_key
        self.calls: list[Call] = []
        """The requests that were answered or are being answered, failures by plan included, oldest first."""
        self.refused: list[str] = []
        """Why requests were refused as wrong; empty in a good test."""
        self._port = port
        self._plans: deque[Plan] = deque()
        self._changed = asyncio.Condition()
        self._runner: web.ServerRunner | None = None
        self._server: _CountingServer | None = None

    async def __aenter__(self) -> Self:
        self._server = _CountingServer(self._handle)
        self._runner = web.ServerRunner(self._server, shutdown_timeout=0.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def base_url(self) -> str:
        """What a client is configured with."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def open_connections(self) -> int:
        """How many connections clients hold open."""
        return self._server.open if self._server else 0

    @property
    def tokens_sent(self) -> int:
        """How many content deltas were sent in all calls."""
        return sum(len(call.sent) for call in self.calls)

    @abstractmethod
    def model_of(self, request: web.BaseRequest, body: Any) -> str | None:
        """Return the model that is asked, ``None`` where the path is another one."""

    @abstractmethod
    def key_of(self, request: web.BaseRequest) -> str:
        """Return the key that a request carries, empty where there is none."""

    @abstractmethod
    def fault_of(self, body: Any) -> str | None:
        """Return what is wrong with a request; ``None`` where nothing is."""

    @abstractmethod
    def said_in(self, body: Any) -> str:
        """Return what the user said last."""

    @abstractmethod
    def limit_in(self, body: Any) -> int | None:
        """Return how many tokens the answer may have."""

    @abstractmethod
    def error(self, status: int, code: str) -> web.Response:
        """Return an answer with an error."""

    @abstractmethod
    def answer(self, request: web.BaseRequest, response: web.StreamResponse, call: Call) -> Answer:
        """Return what sends an answer."""

    def record(self, body: dict[str, Any], plan: Plan, connection: Connection, model: str) -> Call:
        """Return the record of a request that is about to be answered."""
        return Call(body, plan, connection, model)

    def plan(self, *plans: Plan) -> None:
        """Queue plans for the next requests, one each."""
        self._plans.extend(plans)

    def clear(self) -> None:
        """Forget plans and calls."""
        self._plans.clear()
        self.calls.clear()
        self.refused.clear()

    async def wait_for_calls(self, number: int, *, seconds: float = 10.0) -> Sequence[Call]:
        """Return the calls once there are so many; raises ``TimeoutError``."""
        await self._wait(lambda: len(self.calls) >= number, seconds)
        return self.calls

    async def wait_for_tokens(self, call: Call, number: int, *, seconds: float = 10.0) -> None:
        """Return once so many content deltas of a call were sent; raises ``TimeoutError``."""
        await self._wait(lambda: len(call.sent) >= number, seconds)

    async def wait_until_closed(self, call: Call, *, seconds: float = 10.0) -> None:
        """Return once the connection of a call is closed; raises ``TimeoutError``."""
        async with asyncio.timeout(seconds):
            await call.connection.closed.wait()

    async def _wait(self, condition: Any, seconds: float) -> None:
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(condition)

    async def _note(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        match request.method, request.path:
            case "GET", "/stand-in/calls":
                return web.json_response(self._report())
            case "POST", "/stand-in/plans":
                self.plan(Plan.named("?" + request.query_string))
                return web.json_response({})
            case "POST", _:
                return await self._complete(request)
        return self.error(404, "no_such_path")

    def _report(self) -> dict[str, Any]:
        calls = [
            {
                "body": call.body,
                "sent": call.sent,
                "complete": call.complete,
                "closed": call.connection.closed.is_set(),
            }
            for call in self.calls
        ]
        return {"calls": calls, "refused": self.refused, "open_connections": self.open_connections}

    async def _complete(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.key_of(request) != self.api_key:
            self.refused.append("the key is wrong")
            return self.error(401, "invalid_api_key")
        try:
            body = json.loads(await _body_of(request))
            if (fault := self.fault_of(body)) is not None:
                raise ValueError(fault)
            model = self.model_of(request, body)
            if model is None:
                raise ValueError(f"no such path: {request.raw_path}")
            named = Plan.named(model)
        except ValueError as error:
            self.refused.append(str(error))
            return self.error(400, "invalid_request_error")
        if model == "unknown":
            return self.error(404, "model_not_found")
        assert self._server is not None
        plan = self._plans.popleft() if self._plans else named
        return await self._answer(request, self.record(body, plan, self._server.records[request.protocol], model))

    async def _answer(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        body, plan = call.body, call.plan
        self.calls.append(call)
        await self._note()
        if plan.mute:
            await asyncio.Event().wait()
        if plan.status != 200:
            error = self.error(plan.status, plan.error_code)
            if plan.retry_after is not None:
                error.headers["Retry-After"] = plan.retry_after
            return error
        response = web.StreamResponse(headers={"Content-Type": self.content_type})
        await response.prepare(request)
        async for _ in self.answer(request, response, call).send(self.said_in(body), self.limit_in(body)):
            await self._note()
        return response


async def _body_of(request: web.BaseRequest) -> bytes:
    body = bytearray()
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > _LONGEST_REQUEST_BYTES:
            raise ValueError("the request is too long")
    return bytes(body)
