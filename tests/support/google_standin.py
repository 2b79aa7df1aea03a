"""A real server that speaks the Gemini API's streamGenerateContent on a loopback port; see ``StandIn``.

A model stands in the path, where ``?`` has another meaning: plans are named with ``--`` instead of ``?`` and ``&``, as
in ``gemini--fault=cut--after=3``.
"""

import json
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from tests.support.standin import Answer, Call, StandIn

_PREFIX, _SUFFIX = "/v1beta/models/", ":streamGenerateContent"
_FIELDS = {"contents", "systemInstruction", "generationConfig", "safetySettings"}
_STATUSES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL"}


class GoogleStandIn(StandIn):
    """The server, as an async context manager."""

    content_type = "text/event-stream"

    def model_of(self, request: web.BaseRequest, body: Any) -> str | None:
        path = unquote(request.path)
        if not (path.startswith(_PREFIX) and path.endswith(_SUFFIX)) or request.query_string != "alt=sse":
            return None
        return path[len(_PREFIX) : -len(_SUFFIX)].replace("--", "?", 1).replace("--", "&")

    def key_of(self, request: web.BaseRequest) -> str:
        return request.headers.get("X-Goog-Api-Key", "")

    def fault_of(self, body: Any) -> str | None:
        if unknown := body.keys() - _FIELDS:
            return f"unknown fields: {sorted(unknown)}"
        roles = {content["role"] for content in body["contents"]}
        return None if roles <= {"user", "model"} else "the turns are the user's and the model's"

    def said_in(self, body: Any) -> str:
        return "".join(part.get("text", "") for part in body["contents"][-1]["parts"])

    def limit_in(self, body: Any) -> int | None:
        limit: int | None = body.get("generationConfig", {}).get("maxOutputTokens")
        return limit

    def error(self, status: int, code: str) -> web.Response:
        error: dict[str, Any] = {
            "code": status,
            "message": f"{code}: stand-in error",
            "status": _STATUSES.get(status, "UNAVAILABLE"),
        }
        if status == 429:
            error["details"] = [
                {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": []},
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3.5s"},
            ]
        return web.json_response({"error": error}, status=status)

    def answer(self, request: web.BaseRequest, response: web.StreamResponse, call: Call) -> Answer:
        return _GoogleAnswer(request, response, call)


class _GoogleAnswer(Answer):
    """Writes an answer as Gemini does: with counts of all up to then in every event."""

    async def begin(self) -> None:
        """There is nothing before the first piece."""

    async def think(self, piece: str) -> None:
        await self._parts({"text": piece, "thought": True})

    async def call_tool(self) -> None:
        await self._parts({"functionCall": {"name": "lookup", "args": {"place": "Oslo"}}})

    async def say(self, piece: str) -> None:
        await self._parts({"text": piece}, more=1)

    async def finish(self, reason: str | None) -> None:
        if reason is not None:
            named = {"stop": "STOP", "length": "MAX_TOKENS"}.get(reason, reason)
            await self._parts({"text": ""}, reason=named)

    async def keep_alive(self) -> None:
        await self.write(b": still here\r\n\r\n")

    async def garble(self) -> None:
        await self.write(b'data: {"candidates": [{"content": {"par\r\n\r\n')

    async def fail(self) -> None:
        error = {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}
        await self._event({"error": error})

    async def _parts(self, part: dict[str, Any], *, more: int = 0, reason: str | None = None) -> None:
        candidate: dict[str, Any] = {"content": {"parts": [part], "role": "model"}, "index": 0}
        if reason is not None:
            candidate["finishReason"] = reason
        asked = sum(len(part.get("text", "").split()) for turn in self.call.body["contents"] for part in turn["parts"])
        said = len(self.call.sent) + more
        usage = {"promptTokenCount": asked, "candidatesTokenCount": said, "totalTokenCount": asked + said}
        model = self.call.model.partition("?")[0]
        await self._event({"candidates": [candidate], "usageMetadata": usage, "modelVersion": model})

    async def _event(self, data: dict[str, Any]) -> None:
        await self.write(b"data: " + json.dumps(data).encode() + b"\r\n\r\n")
