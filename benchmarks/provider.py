"""An OpenAI-compatible provider's stand-in: streams prepared bytes, fast enough never to be what is measured."""

import asyncio
import json
from dataclasses import dataclass
from functools import lru_cache
from time import monotonic_ns
from typing import Annotated, Any, cast

import typer
import uvloop

from benchmarks.answers import AnswerPlan, parse_model, write_token
from benchmarks.processes import wait_for_signal

HOST = "127.0.0.1"
PIECE = 65_536
"""Bytes of a flat answer that are written at once, so that many answers take turns."""

STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\n"
    b"content-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache\r\n"
    b"x-request-id: req_0123456789abcdef0123456789abcdef\r\n"
    b"openai-processing-ms: 1\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
USAGE = {
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 0,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}
PROMPT_TOKENS = 12


def write_chunk(choices: list[dict[str, Any]], model: str, **more: object) -> bytes:
    """One `chat.completion.chunk` as a server-sent event, in an HTTP chunk of its own."""
    data = {
        "id": "chatcmpl-Bq4Xw9J0aZ7kT2mLr8VnYcH5dEfGs",
        "object": "chat.completion.chunk",
        "created": 1_790_000_000,
        "model": model,
        "service_tier": "default",
        "system_fingerprint": "fp_62a23a81ef",
        "choices": choices,
        **more,
    }
    return wrap_event(json.dumps(data, separators=(",", ":")))


def wrap_event(data: str) -> bytes:
    """A server-sent event in an HTTP chunk of its own, as a server makes it that flushes each event."""
    event = f"data: {data}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(event), event)


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """The bytes of an answer. What depends on the moment, its first token, is left to be made."""

    model: str
    usage: bool
    tokens: tuple[bytes, ...]
    """All but the first."""
    ending: bytes
    """Finish reason, usage where it was asked for, `[DONE]`, and the last HTTP chunk."""
    rest: bytes
    """The tokens and the ending."""

    def write_delta(self, delta: dict[str, str], finish_reason: str | None = None) -> bytes:
        """One chunk with one choice."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return write_chunk([choice], self.model, **({"usage": None} if self.usage else {}))

    def write_opening(self) -> bytes:
        """The response's head and the chunk that names the role."""
        return STREAM_HEAD + self.write_delta({"role": "assistant", "content": ""})

    def write_first(self, epoch_ns: int) -> bytes:
        """The first token."""
        return self.write_delta({"content": write_token(0, epoch_ns)})


@lru_cache(maxsize=8)
def prepare_script(plan: AnswerPlan, *, usage: bool) -> Script:
    """The bytes of a planned answer, made once."""
    blank = Script(model=plan.model, usage=usage, tokens=(), ending=b"", rest=b"")
    tokens = tuple(blank.write_delta({"content": write_token(index, 0)}) for index in range(1, plan.tokens))
    ending = blank.write_delta({}, "stop")
    if usage:
        counts = {
            "prompt_tokens": PROMPT_TOKENS,
            "completion_tokens": plan.tokens,
            "total_tokens": PROMPT_TOKENS + plan.tokens,
        }
        ending += write_chunk([], plan.model, usage={**counts, **USAGE})
    ending += wrap_event("[DONE]") + b"0\r\n\r\n"
    return Script(model=plan.model, usage=usage, tokens=tokens, ending=ending, rest=b"".join(tokens) + ending)


class Refusal(Exception):
    """A request that is answered with an error: its HTTP status and message."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


class Exchange(asyncio.Protocol):
    """One kept-open HTTP/1.1 connection: a request, its answer, and the next."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._transport: asyncio.Transport | None = None
        self._busy = False
        self._writable = True
        self._flat = memoryview(b"")
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop writing."""
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()

    def pause_writing(self) -> None:
        """The socket takes no more for now; only flat answers wait for it, a paced one keeps its schedule."""
        self._writable = False

    def resume_writing(self) -> None:
        """The socket takes more."""
        self._writable = True
        self._write_flat()

    def data_received(self, data: bytes) -> None:
        """Gather the next request."""
        self._received += data
        if not self._busy:
            self._answer_next()

    def _answer_next(self) -> None:
        transport = self._transport
        head, found, rest = self._received.partition(b"\r\n\r\n")
        if not found or transport is None:
            return
        try:
            length = read_content_length(head)
            if len(rest) < length:
                return
            self._received = rest[length:]
            plan, script = choose_answer(head, rest[:length])
        except Refusal as refusal:
            body = json.dumps({"error": {"message": str(refusal), "type": "invalid_request_error"}}).encode()
            transport.write(
                f"HTTP/1.1 {refusal.status}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode()
                + body
            )
            transport.close()
            return
        self._busy = True
        if plan.rate:
            self._start_paced(transport, plan, script)
        else:
            transport.write(script.write_opening() + script.write_first(monotonic_ns()))
            self._flat = memoryview(script.rest)
            self._write_flat()

    def _write_flat(self) -> None:
        while self._flat and self._writable and self._transport is not None:
            self._transport.write(self._flat[:PIECE])
            self._flat = self._flat[PIECE:]
            if not self._flat:
                self._finish()

    def _start_paced(self, transport: asyncio.Transport, plan: AnswerPlan, script: Script) -> None:
        epoch = monotonic_ns()
        transport.write(script.write_opening())
        transport.write(script.write_first(epoch))
        self._write_due(epoch, plan, script, 0)

    def _write_due(self, epoch: int, plan: AnswerPlan, script: Script, sent: int) -> None:
        """Write the tokens that are due, each by itself, and come back for the next."""
        transport = self._transport
        if transport is None:
            return
        now = monotonic_ns()
        while sent < len(script.tokens) and epoch + (sent + 1) * plan.interval_ns <= now:
            transport.write(script.tokens[sent])
            sent += 1
        if sent == len(script.tokens):
            transport.write(script.ending)
            self._finish()
            return
        wait = (epoch + (sent + 1) * plan.interval_ns - now) / 1e9
        self._timer = self._loop.call_later(wait, self._write_due, epoch, plan, script, sent)

    def _finish(self) -> None:
        self._busy = False
        self._timer = None
        if self._received:
            self._answer_next()


def read_content_length(head: bytes) -> int:
    """The length of a request's body. Raises Refusal where it is not stated."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    raise Refusal("411 Length Required", "state a content-length")


def choose_answer(head: bytes, body: bytes) -> tuple[AnswerPlan, Script]:
    """What to answer to a request. Raises Refusal for anything but a streamed chat completion."""
    method, _, target = head.partition(b"\r\n")[0].partition(b" ")
    if method != b"POST" or not target.partition(b" ")[0].endswith(b"/chat/completions"):
        raise Refusal("404 Not Found", "only POST …/chat/completions is served")
    try:
        request = json.loads(body)
        plan = parse_model(request["model"])
        asked = bool(request["messages"]) and request["stream"] is True
        usage = bool((request.get("stream_options") or {}).get("include_usage"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refusal("400 Bad Request", f"not a streamed chat completion: {error}") from error
    if not asked:
        raise Refusal("400 Bad Request", "there must be messages, and stream must be true")
    return plan, prepare_script(plan, usage=usage)


async def serve(port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    server = await asyncio.get_running_loop().create_server(Exchange, HOST, port)
    await wait_for_signal()
    server.close()


def main(port: Annotated[int, typer.Option()]) -> None:
    """Serve on a port of 127.0.0.1."""
    uvloop.run(serve(port))


if __name__ == "__main__":
    typer.run(main)
