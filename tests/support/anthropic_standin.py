"""A real server that speaks Anthropic's messages protocol on a loopback port; see ``StandIn`` for how it is used.

Requests are checked: the version and the key in the headers, the fields that are known, turns that alternate and begin
with the user's.
"""

import json
from typing import Any

from aiohttp import web

from tests.support.standin import Answer, Call, StandIn

_FIELDS = {"model", "max_tokens", "messages", "system", "temperature", "stream", "output_config"}
# As Anthropic names them by status.
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}
_REASONS = {"stop": "end_turn", "length": "max_tokens"}


class AnthropicStandIn(StandIn):
    """The server, as an async context manager."""

    content_type = "text/event-stream; charset=utf-8"

    def model_of(self, request: web.BaseRequest, body: Any) -> str | None:
        return str(body["model"]) if request.path == "/v1/messages" else None

    def key_of(self, request: web.BaseRequest) -> str:
        if "anthropic-version" not in request.headers:
            return ""
        return request.headers.get("X-Api-Key") or request.headers.get("Authorization", "").removeprefix("Bearer ")

    def fault_of(self, body: Any) -> str | None:
        if unknown := body.keys() - _FIELDS:
            return f"unknown fields: {sorted(unknown)}"
        if body.get("stream") is not True or not isinstance(body.get("max_tokens"), int) or body["max_tokens"] < 1:
            return "stream is to be true, and max_tokens a number"
        if not 0 <= body.get("temperature", 1.0) <= 1:
            return "temperature is to be 0 to 1"
        roles = [message["role"] for message in body["messages"]]
        if roles != [("user", "assistant")[number % 2] for number in range(len(roles))] or roles[-1] != "user":
            return "the turns are the user's and the assistant's"
        return None

    def said_in(self, body: Any) -> str:
        content = body["messages"][-1]["content"]
        if isinstance(content, str):
            return content
        return "".join(block["text"] for block in content if block["type"] == "text")

    def limit_in(self, body: Any) -> int | None:
        return int(body["max_tokens"])

    def error(self, status: int, code: str) -> web.Response:
        error = {"type": _TYPES.get(status, "api_error"), "message": f"{code}: stand-in error {status}"}
        return web.json_response({"type": "error", "error": error, "request_id": "req_standin"}, status=status)

    def answer(self, request: web.BaseRequest, response: web.StreamResponse, call: Call) -> Answer:
        return _AnthropicAnswer(request, response, call)


class _AnthropicAnswer(Answer):
    """Writes an answer as Anthropic does: a block for the reasoning, one for a tool's call, one for the text."""

    _index = -1
    _open = ""

    async def begin(self) -> None:
        body = self.call.body
        said = [json.dumps(message["content"]) for message in body["messages"]]
        self._input_tokens = sum(len(text.split()) for text in [*said, str(body.get("system", ""))])
        message = {
            "id": "msg_standin",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": self._usage(1),
        }
        await self._event("message_start", message=message)
        await self._event("ping")

    async def think(self, piece: str) -> None:
        await self._enter("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        await self._delta({"type": "thinking_delta", "thinking": piece})

    async def call_tool(self) -> None:
        await self._enter("tool_use", {"type": "tool_use", "id": "toolu_1", "name": "lookup", "input": {}})
        for arguments in ("", '{"place":', ' "Oslo"}'):
            await self._delta({"type": "input_json_delta", "partial_json": arguments})

    async def say(self, piece: str) -> None:
        await self._enter("text", {"type": "text", "text": ""})
        await self._delta({"type": "text_delta", "text": piece})

    async def finish(self, reason: str | None) -> None:
        await self._leave()
        if reason is not None:
            delta = {"stop_reason": _REASONS.get(reason, reason), "stop_sequence": None}
            await self._event("message_delta", delta=delta, usage=self._usage(len(self.call.sent)))
        if self.plan.done:
            await self._event("message_stop")

    async def keep_alive(self) -> None:
        await self._event("ping")

    async def garble(self) -> None:
        await self.write(b'event: content_block_delta\ndata: {"type": "content_block_delta", "delta": {"te\n\n')

    async def fail(self) -> None:
        await self._event("error", error={"type": "overloaded_error", "message": "Overloaded"})

    def _usage(self, output_tokens: int) -> dict[str, int]:
        cached = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
        return {"input_tokens": self._input_tokens, **cached, "output_tokens": output_tokens}

    async def _enter(self, kind: str, block: dict[str, Any]) -> None:
        """Begin a block, unless it is the one that is open."""
        if self._open == kind:
            return
        await self._leave()
        self._index += 1
        self._open = kind
        await self._event("content_block_start", index=self._index, content_block=block)

    async def _leave(self) -> None:
        if self._open == "thinking":
            await self._delta({"type": "signature_delta", "signature": "c2lnbmVk"})
        if self._open:
            await self._event("content_block_stop", index=self._index)
        self._open = ""

    async def _delta(self, delta: dict[str, Any]) -> None:
        await self._event("content_block_delta", index=self._index, delta=delta)

    async def _event(self, name: str, **data: Any) -> None:
        line = "\r\n" if self.plan.crlf else "\n"
        # Text as it is, but for halves of characters, which only an escape can hold.
        text = json.dumps({"type": name, **data}, ensure_ascii=self._has_halves(data))
        comment = f": keep-alive{line * 2}" if self.plan.comments else ""
        await self.write(f"{comment}event: {name}{line}data: {text}{line * 2}".encode())

    @staticmethod
    def _has_halves(data: Any) -> bool:
        return any("\ud800" <= char <= "\udfff" for char in json.dumps(data, ensure_ascii=False))
