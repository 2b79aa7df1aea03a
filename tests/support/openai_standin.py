"""A real server that speaks OpenAI's chat-completions protocol on a loopback port, and fails on request.

In the test's own process::

    async with OpenAIStandIn(api_key="sk-test") as provider:
        provider.plan(Plan(status=429, retry_after="0"), Plan(text="Hello there"))   # the next two requests
        ...                                           # call provider.base_url with the key
        call = provider.calls[-1]                     # what was asked, and how far the answer got
        await provider.wait_until_closed(call)        # the client's connection is gone

As a process of its own, which prints its base URL as its only line, and stops at SIGTERM or SIGINT::

    python -m tests.support.openai_standin --port 0 --api-key sk-test

A request is answered by the next plan that was queued, else by what its model's name says (``Plan.named``), so that
faults can be had from outside by naming a model: ``gpt?fault=cut&after=3``. Whoever has no access to the object reads
``GET /stand-in/calls`` and queues plans with ``POST /stand-in/plans?...`` (the same words as in a name).

Requests are checked as strictly as OpenAI does: a wrong key is 401, the model ``unknown`` is 404, a field that is not
known, missing or out of range is 400. No plan is used up by a request that is refused so.
"""

import argparse
import asyncio
import json
import signal
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from tests.support.openai_plans import Fault, Plan
from tests.support.openai_requests import fault_of

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


class OpenAIStandIn:
    """The server, as an async context manager; see the module's docstring."""

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
        """What a client appends ``/chat/completions`` to."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def open_connections(self) -> int:
        """How many connections clients hold open."""
        return self._server.open if self._server else 0

    @property
    def tokens_sent(self) -> int:
        """How many content deltas were sent in all calls."""
        return sum(len(call.sent) for call in self.calls)

    def plan(self, *plans: Plan) -> None:
        """Queue plans for the next requests, one each."""
        self._plans.extend(plans)

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
            case "POST", "/v1/chat/completions":
                return await self._complete(request)
            case "GET", "/stand-in/calls":
                return web.json_response(self._report())
            case "POST", "/stand-in/plans":
                self.plan(Plan.named("?" + request.query_string))
                return web.json_response({})
        return _error(404, "no_such_path")

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
        if request.headers.get("Authorization") != f"Bearer {self.api_key}":
            self.refused.append("the key is wrong")
            return _error(401, "invalid_api_key")
        try:
            body = json.loads(await _body_of(request))
            if (fault := fault_of(body)) is not None:
                raise ValueError(fault)
            named = Plan.named(body["model"])
        except ValueError as error:
            self.refused.append(str(error))
            return _error(400, "invalid_request_error")
        if body["model"] == "unknown":
            return _error(404, "model_not_found")
        return await self._answer(request, body, self._plans.popleft() if self._plans else named)

    async def _answer(self, request: web.BaseRequest, body: dict[str, Any], plan: Plan) -> web.StreamResponse:
        assert self._server is not None
        call = Call(body, plan, self._server.records[request.protocol])
        self.calls.append(call)
        await self._note()
        if plan.mute:
            await asyncio.Event().wait()
        if plan.status != 200:
            return _error(plan.status, plan.error_code, retry_after=plan.retry_after)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        answer = _Answer(request, response, call)
        async for _ in answer.send():
            await self._note()
        return response


class _Answer:
    """Sends one answer as its plan says."""

    def __init__(self, request: web.BaseRequest, response: web.StreamResponse, call: Call) -> None:
        self._request = request
        self._response = response
        self._call = call
        self._plan = call.plan
        self._line = b"\r\n" if call.plan.crlf else b"\n"
        self._wants_usage = bool(call.body.get("stream_options", {}).get("include_usage")) and call.plan.usage

    async def send(self) -> Any:
        """Send the answer, yielding after each content delta."""
        plan, body = self._plan, self._call.body
        content = plan.content(body["messages"][-1]["content"])
        limit = body.get("max_tokens", body.get("max_completion_tokens", len(content)))
        await self._chunk({"role": "assistant", "content": "", "refusal": None})
        await asyncio.sleep(plan.first_delay)
        for piece in plan.reasoning:
            await self._chunk({plan.reasoning_field: piece})
        for piece in content[:limit]:
            if await self._interrupt():
                return
            await asyncio.sleep(plan.delay if self._call.sent else 0.0)
            await self._chunk({"refusal" if plan.refusal else "content": piece})
            self._call.sent.append(piece)
            yield piece
        if await self._interrupt():
            return
        if plan.finish_reason is not None:
            await self._chunk({}, "length" if limit < len(content) else plan.finish_reason)
        if self._wants_usage:
            await self._usage(len(self._call.sent))
        if plan.done:
            await self._event("[DONE]")
        self._call.complete = True
        if plan.linger:
            await asyncio.Event().wait()

    async def _interrupt(self) -> bool:
        """Do what is due after as many deltas as were sent; return whether the answer is over with that."""
        plan = self._plan
        if gate := plan.gates.get(len(self._call.sent)):
            await gate.wait()
        if len(self._call.sent) != plan.after:
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
                    await self._write(b": still here" + self._line * 2)
                    await asyncio.sleep(0.01)
            case Fault.GARBAGE:
                await self._event('{"choices": [{"delta": {"content": "cut o')
            case Fault.ERROR:
                error = {"message": "The server had an error", "type": "server_error", "code": None}
                await self._event(json.dumps({"error": error}))
            case Fault.UNFRAMED:
                assert self._request.transport is not None
                self._request.transport.write(b"this is no length of a chunk\r\n")
                await asyncio.Event().wait()
        return True

    async def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        await self._event(json.dumps(self._envelope([choice]) | ({"usage": None} if self._wants_usage else {})))

    async def _usage(self, completion_tokens: int) -> None:
        prompt_tokens = sum(len(message["content"].split()) for message in self._call.body["messages"])
        usage = {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        }
        await self._event(json.dumps(self._envelope([]) | {"usage": usage}))

    def _envelope(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": "chatcmpl-standin",
            "object": "chat.completion.chunk",
            "created": 1_750_000_000,
            "model": self._call.body["model"],
            "service_tier": "default",
            "system_fingerprint": "fp_standin",
            "choices": choices,
        }

    async def _event(self, data: str) -> None:
        comment = b": keep-alive" + self._line * 2 if self._plan.comments else b""
        await self._write(comment + b"data: " + data.encode() + self._line * 2)

    async def _write(self, data: bytes) -> None:
        if not self._plan.byte_by_byte:
            await self._response.write(data)
            return
        for byte in data:
            await self._response.write(bytes([byte]))
            # Lets the client's side read it before the next one comes.
            await asyncio.sleep(0)


async def _body_of(request: web.BaseRequest) -> bytes:
    body = bytearray()
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > _LONGEST_REQUEST_BYTES:
            raise ValueError("the request is too long")
    return bytes(body)


def _error(status: int, code: str, *, retry_after: str | None = None) -> web.Response:
    error = {"message": f"Stand-in error {status}", "type": "stand_in", "param": None, "code": code}
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return web.json_response({"error": error}, status=status, headers=headers)


async def _serve(port: int, api_key: str) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with OpenAIStandIn(api_key=api_key, port=port) as provider:
        sys.stdout.write(provider.base_url + "\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    options = argparse.ArgumentParser(description="An OpenAI-compatible stand-in on a loopback port.")
    options.add_argument("--port", type=int, default=0, help="0 takes a free one")
    options.add_argument("--api-key", default="sk-test")
    arguments = options.parse_args()
    asyncio.run(_serve(arguments.port, arguments.api_key))
