"""A real server that speaks Mistral's chat completions on a loopback port; see ``StandIn`` for how it is used."""

import json
from typing import Any

from aiohttp import web

from tests.support.standin import Answer, Call, StandIn

_FIELDS = {"model", "messages", "stream", "temperature", "top_p", "max_tokens", "response_format"}


class MistralStandIn(StandIn):
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
        if unknown := body.keys() - _FIELDS:
            return f"unknown fields: {sorted(unknown)}"
        return None if body.get("stream") is True else "stream is to be true"

    def said_in(self, body: Any) -> str:
        content = body["messages"][-1]["content"]
        return content if isinstance(content, str) else "".join(chunk.get("text", "") for chunk in content)

    def limit_in(self, body: Any) -> int | None:
        limit: int | None = body.get("max_tokens")
        return limit

    def error(self, status: int, code: str) -> web.Response:
        error = {"object": "error", "message": f"stand-in error {status}", "type": code, "param": None, "code": "3000"}
        return web.json_response(error, status=status)

    def answer(self, request: web.BaseRequest, response: web.StreamResponse, call: Call) -> Answer:
        return _MistralAnswer(request, response, call)


class _MistralAnswer(Answer):
    """Writes an answer as Mistral does: the usage stands beside the reason for the end."""

    async def begin(self) -> None:
        await self._chunk({"role": "assistant", "content": ""})

    async def think(self, piece: str) -> None:
        thought = {"type": "thinking", "thinking": [{"type": "text", "text": piece}]}
        await self._chunk({"content": [thought]})

    async def call_tool(self) -> None:
        function = {"name": "lookup", "arguments": '{"place": "Oslo"}'}
        await self._chunk({"content": "", "tool_calls": [{"id": "D681PevKs", "function": function, "index": 0}]})

    async def say(self, piece: str) -> None:
        await self._chunk({"content": piece})

    async def finish(self, reason: str | None) -> None:
        if reason is not None:
            asked = sum(len(str(message["content"]).split()) for message in self.call.body["messages"])
            said = len(self.call.sent)
            usage = {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}
            await self._chunk({"content": ""}, reason=reason, usage=usage)
        if self.plan.done:
            await self.write(b"data: [DONE]\n\n")

    async def keep_alive(self) -> None:
        await self.write(b": still here\n\n")

    async def garble(self) -> None:
        await self.write(b'data: {"choices": [{"delta": {"content": "cut o\n\n')

    async def fail(self) -> None:
        error = {"object": "error", "message": "Service unavailable.", "type": "internal_server_error", "code": "3700"}
        await self._event(error)

    async def _chunk(self, delta: dict[str, Any], *, reason: str | None = None, **more: Any) -> None:
        choices = [{"index": 0, "delta": delta, "finish_reason": reason}]
        envelope = {"id": "standin", "object": "chat.completion.chunk", "created": 1_750_000_000}
        await self._event({**envelope, "model": self.call.body["model"], "choices": choices, **more})

    async def _event(self, data: dict[str, Any]) -> None:
        await self.write(b"data: " + json.dumps(data).encode() + b"\n\n")
