"""A real server that speaks OpenAI's chat-completions protocol on a loopback port, and fails on request.

See ``StandIn`` for how it is used. As a process of its own, which prints its base URL as its only line, and stops at
SIGTERM or SIGINT::

    python -m tests.support.openai_standin --port 0 --api-key sk-test

Whoever has no access to the object reads ``GET /stand-in/calls`` and queues plans with ``POST /stand-in/plans?...``
(the same words as in a model's name).

Requests are checked as strictly as OpenAI does: a wrong key is 401, the model ``unknown`` is 404, a field that is not
known, missing or out of range is 400.
"""

import argparse
import asyncio
import json
import signal
import sys
from typing import Any

from aiohttp import web

from tests.support.openai_requests import fault_of
from tests.support.standin import Answer, Call, StandIn


class OpenAIStandIn(StandIn):
    """The server, as an async context manager."""

    content_type = "text/event-stream; charset=utf-8"

    @property
    def base_url(self) -> str:
        """What a client appends ``/chat/completions`` to."""
        return super().base_url + "/v1"

    def model_of(self, request: web.BaseRequest, body: Any) -> str | None:
        return str(body["model"]) if request.path == "/v1/chat/completions" else None

    def key_of(self, request: web.BaseRequest) -> str:
        return request.headers.get("Authorization", "").removeprefix("Bearer ")

    def fault_of(self, body: Any) -> str | None:
        return fault_of(body)

    def said_in(self, body: Any) -> str:
        content = body["messages"][-1]["content"]
        return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)

    def limit_in(self, body: Any) -> int | None:
        limit: int | None = body.get("max_tokens", body.get("max_completion_tokens"))
        return limit

    def error(self, status: int, code: str) -> web.Response:
        error = {"message": f"Stand-in error {status}", "type": "stand_in", "param": None, "code": code}
        return web.json_response({"error": error}, status=status)

    def answer(self, request: web.BaseRequest, response: web.StreamResponse, call: Call) -> Answer:
        return OpenAIAnswer(request, response, call)


class OpenAIAnswer(Answer):
    """Writes an answer as OpenAI does."""

    def __init__(self, request: web.BaseRequest, response: web.StreamResponse, call: Call) -> None:
        super().__init__(request, response, call)
        self._line = b"\r\n" if call.plan.crlf else b"\n"
        self._wants_usage = bool(call.body.get("stream_options", {}).get("include_usage")) and call.plan.usage

    def completion_tokens(self) -> int:
        """Return how many tokens the answer has; here each delta counts as one."""
        return len(self.call.sent)

    async def begin(self) -> None:
        await self._chunk({"role": "assistant", "content": "", "refusal": None})

    async def think(self, piece: str) -> None:
        await self._chunk({self.plan.reasoning_field: piece})

    async def call_tool(self) -> None:
        function = {"name": "lookup", "arguments": ""}
        await self._chunk({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]})
        for arguments in ('{"place":', ' "Oslo"}'):
            await self._chunk({"tool_calls": [{"index": 0, "function": {"arguments": arguments}}]})

    async def say(self, piece: str) -> None:
        await self._chunk({"refusal" if self.plan.refusal else "content": piece})

    async def finish(self, reason: str | None) -> None:
        if reason is not None:
            await self._chunk({}, reason)
        if self._wants_usage:
            await self._usage(self.completion_tokens())
        if self.plan.done:
            await self._event("[DONE]")

    async def keep_alive(self) -> None:
        await self.write(b": still here" + self._line * 2)

    async def garble(self) -> None:
        await self._event('{"choices": [{"delta": {"content": "cut o')

    async def fail(self) -> None:
        error = {"message": "The server had an error", "type": "server_error", "code": None}
        await self._event(json.dumps({"error": error}))

    async def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        await self._event(json.dumps(self._envelope([choice]) | ({"usage": None} if self._wants_usage else {})))

    async def _usage(self, completion_tokens: int) -> None:
        prompt_tokens = sum(len(str(message["content"]).split()) for message in self.call.body["messages"])
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
            "model": self.call.body["model"],
            "service_tier": "default",
            "system_fingerprint": "fp_standin",
            "choices": choices,
        }

    async def _event(self, data: str) -> None:
        comment = b": keep-alive" + self._line * 2 if self.plan.comments else b""
        await self.write(comment + b"data: " + data.encode() + self._line * 2)


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
