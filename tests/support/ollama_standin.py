"""A real server that speaks Ollama's chat protocol on a loopback port; see ``StandIn`` for how it is used.

One JSON object a line. An Ollama of its own asks for no key; this one asks for one, as a proxy before it does.
"""

import json
from typing import Any

from aiohttp import web

from tests.support.standin import Answer, Call, StandIn

_FIELDS = {"model", "messages", "stream", "options", "format", "tools"}
_OPTIONS = {"temperature", "num_predict"}


class OllamaStandIn(StandIn):
    """The server, as an async context manager."""

    content_type = "application/x-ndjson"

    def model_of(self, request: web.BaseRequest, body: Any) -> str | None:
        return str(body["model"]) if request.path == "/api/chat" else None

    def key_of(self, request: web.BaseRequest) -> str:
        return request.headers.get("Authorization", "").removeprefix("Bearer ")

    def fault_of(self, body: Any) -> str | None:
        if unknown := (body.keys() - _FIELDS) | (body.get("options", {}).keys() - _OPTIONS):
            return f"unknown fields: {sorted(unknown)}"
        if body.get("stream") is not True:
            return "stream is to be true"
        if any(not isinstance(message.get("content", ""), str) for message in body["messages"]):
            return "content is to be a string"
        return None if body["messages"][-1]["role"] == "user" else "the last message is to be the user's"

    def said_in(self, body: Any) -> str:
        return str(body["messages"][-1].get("content", ""))

    def limit_in(self, body: Any) -> int | None:
        limit: int | None = body.get("options", {}).get("num_predict")
        return limit

    def error(self, status: int, code: str) -> web.Response:
        return web.json_response({"error": f"{code}: stand-in error {status}"}, status=status)

    def answer(self, request: web.BaseRequest, response: web.StreamResponse, call: Call) -> Answer:
        return _OllamaAnswer(request, response, call)


class _OllamaAnswer(Answer):
    """Writes an answer as Ollama does."""

    async def begin(self) -> None:
        """There is nothing before the first piece."""

    async def think(self, piece: str) -> None:
        await self._message(content="", thinking=piece)

    async def call_tool(self) -> None:
        call = {"function": {"name": "lookup", "arguments": {"place": "Oslo"}}}
        await self._message(content="", tool_calls=[call])

    async def say(self, piece: str) -> None:
        await self._message(content=piece)

    async def finish(self, reason: str | None) -> None:
        if reason is None:
            return
        prompt = " ".join(message.get("content", "") for message in self.call.body["messages"])
        counts = {"prompt_eval_count": len(prompt.split()), "eval_count": len(self.call.sent)}
        durations = {"total_duration": 5_000, "load_duration": 1_000, "prompt_eval_duration": 1_000, "eval_duration": 9}
        facts = {"done": True, "done_reason": reason, **durations, **(counts if self.plan.usage else {})}
        await self._line({"message": {"role": "assistant", "content": ""}, **facts})

    async def keep_alive(self) -> None:
        # Space between objects is none of them.
        await self.write(b" ")

    async def garble(self) -> None:
        await self.write(b'{"model": "llama", "message": {"role": "assistant", "con\n')

    async def fail(self) -> None:
        await self.write(b'{"error": "llama runner process has terminated: exit status 2"}\n')

    async def _message(self, **fields: Any) -> None:
        await self._line({"message": {"role": "assistant", **fields}, "done": False})

    async def _line(self, fields: dict[str, Any]) -> None:
        made = {"model": self.call.body["model"], "created_at": "2026-11-22T10:00:00.123456789Z", **fields}
        plain = json.dumps(made, ensure_ascii=False)
        halves = any("\ud800" <= char <= "\udfff" for char in plain)
        await self.write((json.dumps(made) if halves else plain).encode() + (b"\r\n" if self.plan.crlf else b"\n"))
