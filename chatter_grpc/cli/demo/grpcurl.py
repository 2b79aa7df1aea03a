"""The command line that repeats a call with grpcurl."""

import shlex
from pathlib import Path

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

SERVICES = "chatter.v1"
# What grpcurl prints is JSON on several lines; sed is on every machine.
TAKE_TOKEN = r"""sed -n 's/.*"access_token": *"\([^"]*\)".*/\1/p'"""


def repeat(address: str, method: str, request: Message, *, token: bool = True) -> str:
    """Return the command for a method such as ``ChatService/SendMessage``; with ``token``, it sends ``$TOKEN``."""
    return f"{_call(token)} -d {shlex.quote(_json(request))} {address} {SERVICES}.{method}"


def repeat_from_file(address: str, method: str, request: Message, file: Path) -> str:
    """Like ``repeat``, for a request that is too long for a line: it is written to the file."""
    file.write_text(_json(request) + "\n")
    return f"{_call(token=True)} -d @ {address} {SERVICES}.{method} < {shlex.quote(str(file))}"


def take_token(login: str) -> str:
    """Return the command that keeps the access token of a Login in ``$TOKEN``."""
    return f"TOKEN=$({login} | {TAKE_TOKEN})"


def _call(token: bool) -> str:
    return "grpcurl -plaintext" + (' -H "authorization: Bearer $TOKEN"' if token else "")


def _json(request: Message) -> str:
    return MessageToJson(request, preserving_proto_field_name=True, indent=None, ensure_ascii=False)
