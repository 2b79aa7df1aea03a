"""A real server that speaks Bedrock's ConverseStream on a loopback port; see ``StandIn`` for how it is used.

An answer is a sequence of binary frames (Amazon's "event stream encoding"): lengths of the whole and of the headers, a
CRC-32 of both, the headers, the payload, and a CRC-32 of all before it. The key is the access key's id, whose secret
only signs; what is checked of the signature is that it is there, and that the path is the one that it was made over.
"""

import json
import struct
import zlib
from typing import Any
from urllib.parse import quote, unquote

from aiohttp import web

from tests.support.standin import Answer, Call, StandIn

_FIELDS = {"messages", "system", "inferenceConfig", "outputConfig"}
_PREFIX, _SUFFIX = "/model/", "/converse-stream"
_REASONS = {"stop": "end_turn", "length": "max_tokens"}


class AwsStandIn(StandIn):
    """The server, as an async context manager."""

    content_type = "application/vnd.amazon.eventstream"

    def model_of(self, request: web.BaseRequest, body: Any) -> str | None:
        path = request.raw_path
        if not (path.startswith(_PREFIX) and path.endswith(_SUFFIX)):
            return None
        name = path[len(_PREFIX) : -len(_SUFFIX)]
        # Whoever writes the path in another way has signed another one.
        return unquote(name) if name == quote(unquote(name), safe="") else None

    def key_of(self, request: web.BaseRequest) -> str:
        kind, _, fields = request.headers.get("Authorization", "").partition(" Credential=")
        return fields.partition("/")[0] if kind == "AWS4-HMAC-SHA256" and "Signature=" in fields else ""

    def fault_of(self, body: Any) -> str | None:
        if unknown := body.keys() - _FIELDS:
            return f"unknown fields: {sorted(unknown)}"
        if body.get("inferenceConfig", {}).keys() - {"temperature", "maxTokens"}:
            return "inferenceConfig has a temperature and maxTokens"
        return None if body["messages"][-1]["role"] == "user" else "the last message is to be the user's"

    def said_in(self, body: Any) -> str:
        return "".join(block.get("text", "") for block in body["messages"][-1]["content"])

    def limit_in(self, body: Any) -> int | None:
        limit: int | None = body.get("inferenceConfig", {}).get("maxTokens")
        return limit

    def error(self, status: int, code: str) -> web.Response:
        kind = {400: "ValidationException", 401: "UnrecognizedClientException", 429: "ThrottlingException"}
        headers = {"x-amzn-ErrorType": kind.get(status, "InternalServerException")}
        return web.json_response({"message": f"{code}: stand-in error {status}"}, status=status, headers=headers)

    def answer(self, request: web.BaseRequest, response: web.StreamResponse, call: Call) -> Answer:
        return _AwsAnswer(request, response, call)


class _AwsAnswer(Answer):
    """Writes an answer as Bedrock does."""

    async def begin(self) -> None:
        await self._event("messageStart", {"role": "assistant"})

    async def think(self, piece: str) -> None:
        await self._delta({"reasoningContent": {"text": piece}})

    async def call_tool(self) -> None:
        start = {"toolUse": {"toolUseId": "tooluse_1", "name": "lookup"}}
        await self._event("contentBlockStart", {"start": start, "contentBlockIndex": 1})
        for arguments in ('{"place":', ' "Oslo"}'):
            await self._delta({"toolUse": {"input": arguments}}, index=1)
        await self._event("contentBlockStop", {"contentBlockIndex": 1})

    async def say(self, piece: str) -> None:
        await self._delta({"text": piece}, index=2)

    async def finish(self, reason: str | None) -> None:
        await self._event("contentBlockStop", {"contentBlockIndex": 2})
        if reason is None:
            return
        await self._event("messageStop", {"stopReason": _REASONS.get(reason, reason)})
        if self.plan.usage:
            texts = [block.get("text", "") for turn in self.call.body["messages"] for block in turn["content"]]
            asked, said = len(" ".join(texts).split()), len(self.call.sent)
            usage = {"inputTokens": asked, "outputTokens": said, "totalTokens": asked + said}
            await self._event("metadata", {"usage": usage, "metrics": {"latencyMs": 7}})

    async def keep_alive(self) -> None:
        """There is nothing of that kind."""

    async def garble(self) -> None:
        good = _frame({":message-type": "event", ":event-type": "contentBlockDelta"}, b"{}")
        await self.write(good[:-1] + bytes([good[-1] ^ 1]))

    async def fail(self) -> None:
        headers = {":message-type": "exception", ":exception-type": "modelStreamErrorException"}
        await self.write(_frame(headers | _JSON, b'{"message": "The model failed", "originalStatusCode": 500}'))

    async def _delta(self, delta: dict[str, Any], *, index: int = 0) -> None:
        await self._event("contentBlockDelta", {"delta": delta, "contentBlockIndex": index})

    async def _event(self, name: str, data: dict[str, Any]) -> None:
        await self.write(_frame({":message-type": "event", ":event-type": name} | _JSON, json.dumps(data).encode()))


_JSON = {":content-type": "application/json"}


def _frame(headers: dict[str, str], payload: bytes) -> bytes:
    """Return a frame whose headers are all strings."""
    encoded = b"".join(
        struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", 7, len(value)) + value.encode()
        for name, value in headers.items()
    )
    lengths = struct.pack("!II", 16 + len(encoded) + len(payload), len(encoded))
    frame = lengths + struct.pack("!I", zlib.crc32(lengths)) + encoded + payload
    return frame + struct.pack("!I", zlib.crc32(frame))
