"""The OpenAI-compatible chat-completions format: requests as they are sent, chunks as far as they are read."""

import json
import re
from base64 import b64encode
from typing import Any, Final

import msgspec

from chatter_grpc.adapters.models.strict_schema import can_be_strict
from chatter_grpc.core.models import ModelRequest, Turn

# The format asks for a name, which the model is told.
_SCHEMA_NAME: Final = "answer"


class Delta(msgspec.Struct, gc=False):
    """What a chunk adds. The reasoning has no standard name: some send the one, some the other."""

    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class Choice(msgspec.Struct, gc=False):
    """One of the answers; only the first is ever asked for."""

    index: int | None = 0
    delta: Delta | None = None
    finish_reason: str | None = None


class WireUsage(msgspec.Struct, gc=False):
    """Tokens as the provider counts them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Chunk(msgspec.Struct, gc=False):
    """One event of the stream; ``error`` is set instead of the rest where the provider fails in mid-stream."""

    choices: list[Choice] | None = None
    usage: WireUsage | None = None
    error: Any = None


class Unreadable(Exception):
    """The bytes are no chunk. Says nothing of their content, which belongs to a user."""


_decoder = msgspec.json.Decoder(Chunk)
decode_chunk = _decoder.decode
"""Decode a chunk, fast; may raise what ``DECODE_ERRORS`` names, on text with lone surrogates too."""

DECODE_ERRORS = (msgspec.DecodeError, ValueError, RecursionError)


def decode_odd_chunk(data: bytes) -> Chunk:
    """Decode a chunk that ``decode_chunk`` refused: slower, but half a surrogate pair in a string is let through.

    Raises ``Unreadable``.
    """
    try:
        return msgspec.convert(json.loads(data), Chunk)
    except DECODE_ERRORS:
        raise Unreadable from None


def encode_request(request: ModelRequest, *, name: str, limit_field: str) -> bytes:
    """Encode the request's body; ``name`` is the model's name without its provider."""
    messages = [{"role": turn.role.value, "content": _content(turn)} for turn in request.turns]
    if request.system_prompt:
        messages.insert(0, {"role": "system", "content": request.system_prompt})
    body: dict[str, Any] = {
        "model": name,
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.max_tokens is not None:
        body[limit_field] = request.max_tokens
    if request.response_schema is not None:
        body["response_format"] = _response_format(request.response_schema)
    return msgspec.json.encode(body)


def _content(turn: Turn) -> str | list[dict[str, Any]]:
    if not turn.images:
        return turn.text
    parts: list[dict[str, Any]] = [{"type": "text", "text": turn.text}] if turn.text else []
    for image in turn.images:
        url = f"data:{image.media_type};base64,{b64encode(image.data).decode()}"
        parts.append({"type": "image_url", "image_url": {"url": url}})
    return parts


def _response_format(schema: str) -> dict[str, Any]:
    """Return how an answer is asked for that keeps a schema: strictly where it can be so."""
    parsed = json.loads(schema)
    named = {"name": _SCHEMA_NAME, "schema": parsed, "strict": can_be_strict(parsed)}
    return {"type": "json_schema", "json_schema": named}


class _ErrorDetail(msgspec.Struct):
    code: Any = None
    type: Any = None
    status: Any = None
    details: Any = None


class _ErrorBody(msgspec.Struct):
    error: _ErrorDetail


def error_code(body: bytes) -> str:
    """Return the short code of an error answer, made safe for a log line; empty where there is none."""
    detail = _error_in(body)
    for code in (detail.code, detail.type, detail.status):
        if isinstance(code, str) and len(code) <= 64 and code.isascii() and code.replace("_", "").isalnum():
            return code
    return ""


def error_pause(body: bytes) -> float | None:
    """Return the pause in seconds that an error answer asks for in its body, as Google does; ``None`` without one."""
    details = _error_in(body).details
    for detail in details if isinstance(details, list) else ():
        match detail:
            # google.rpc.RetryInfo, with a duration as in "34.5s".
            case {"retryDelay": str(delay)} if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,9})?s", delay):
                return float(delay[:-1])
    return None


def _error_in(body: bytes) -> _ErrorDetail:
    try:
        return msgspec.json.decode(body, type=_ErrorBody).error
    except DECODE_ERRORS:
        return _ErrorDetail()
