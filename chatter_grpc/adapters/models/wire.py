"""The OpenAI-compatible chat-completions format: requests as they are sent, chunks as far as they are read."""

import json
from typing import Any

import msgspec

from chatter_grpc.core.models import ModelRequest


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
    messages = [{"role": turn.role.value, "content": turn.text} for turn in request.turns]
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
    return msgspec.json.encode(body)


class _ErrorDetail(msgspec.Struct):
    code: Any = None
    type: Any = None


class _ErrorBody(msgspec.Struct):
    error: _ErrorDetail


def error_code(body: bytes) -> str:
    """Return the short code of an error answer, made safe for a log line; empty where there is none."""
    try:
        detail = msgspec.json.decode(body, type=_ErrorBody).error
    except DECODE_ERRORS:
        return ""
    for code in (detail.code, detail.type):
        if isinstance(code, str) and len(code) <= 64 and code.isascii() and code.replace("_", "").isalnum():
            return code
    return ""
