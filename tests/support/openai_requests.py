"""Checks a chat-completions request as strictly as OpenAI does."""

import base64
import re
from typing import Any

from chatter_grpc.adapters.models.strict_schema import can_be_strict

_FIELDS = {
    "model",
    "messages",
    "stream",
    "stream_options",
    "temperature",
    "max_tokens",
    "max_completion_tokens",
    "response_format",
}
_IMAGE = re.compile(r"data:image/(png|jpeg|gif|webp);base64,(.+)")
_ROLES = {"system", "user", "assistant"}


def fault_of(body: Any) -> str | None:
    """Return what is wrong with a request; ``None`` where nothing is."""
    if not isinstance(body, dict):
        return "is no object"
    unknown = body.keys() - _FIELDS
    if unknown:
        return f"unknown fields: {sorted(unknown)}"
    if not isinstance(body.get("model"), str) or body.get("stream") is not True:
        return "model is to be a name, and stream true"
    if body.get("stream_options", {"include_usage": True}) not in ({"include_usage": True}, {"include_usage": False}):
        return "stream_options holds include_usage alone"
    return _fault_of_numbers(body) or _fault_of_format(body) or _fault_of_messages(body.get("messages"))


def _fault_of_format(body: dict[str, Any]) -> str | None:
    match body.get("response_format"):
        case None:
            return None
        case {"type": "json_schema", "json_schema": {"name": str(), "schema": dict(schema), "strict": bool(strict)}}:
            return "the schema cannot be kept strictly" if strict and not can_be_strict(schema) else None
    return "response_format is to be a named JSON Schema"


def _fault_of_numbers(body: dict[str, Any]) -> str | None:
    temperature = body.get("temperature", 1.0)
    if isinstance(temperature, bool) or not isinstance(temperature, (int, float)) or not 0 <= temperature <= 2:
        return "temperature is to be 0 to 2"
    limits = [body[name] for name in ("max_tokens", "max_completion_tokens") if name in body]
    if len(limits) > 1:
        return "max_tokens and max_completion_tokens are one too many"
    if any(isinstance(limit, bool) or not isinstance(limit, int) or limit < 1 for limit in limits):
        return "the limit of tokens is to be above 0"
    return None


def _fault_of_content(role: str, content: Any) -> str | None:
    if isinstance(content, str):
        return None
    if role != "user" or not isinstance(content, list) or not content:
        return "content is to be a string, or parts of the user's"
    for part in content:
        match part:
            case {"type": "text", "text": str(text)} if text:
                continue
            case {"type": "image_url", "image_url": {"url": str(url)}} if found := _IMAGE.fullmatch(url):
                base64.b64decode(found[2], validate=True)
            case _:
                return "a part is a text or an image"
    return None


def _fault_of_messages(messages: Any) -> str | None:
    if not isinstance(messages, list) or not messages:
        return "messages is to be a list that is not empty"
    for message in messages:
        if not isinstance(message, dict) or message.keys() != {"role", "content"} or message["role"] not in _ROLES:
            return "a message has a role and content"
        if fault := _fault_of_content(message["role"], message["content"]):
            return fault
    return None if messages[-1]["role"] == "user" else "the last message is to be the user's"
