"""Folding a recorded stream to its answer, and checking that the answer is whole: after the measurement, not in it."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from google.protobuf.message import DecodeError

from benchmarks.answers import AnswerPlan, count_tokens, read_epoch, write_rest, write_token
from benchmarks.load.calls import Call, split_events, split_messages
from chatter_grpc._gen.chatter.v1.chat_service_pb2 import SendMessageResponse
from chatter_grpc._gen.chatter.v1.content_pb2 import TextPart
from chatter_grpc._gen.chatter.v1.run_event_pb2 import RunEvent


class Wire(StrEnum):
    """What a server's stream is made of."""

    RUN = "run"
    """`SendMessageResponse`: frames of a run, to be folded by the contract's rule."""
    TEXT = "text"
    """`TextPart`: one piece of text after the other."""
    COMPLETIONS = "completions"
    """Server-sent events of OpenAI's chat completions, over HTTP."""
    EVENTS = "events"
    """Server-sent events with a JSON object that has a `text` each, over HTTP."""


class StreamFault(ValueError):
    """A stream that does not fold to the answer the provider sent."""


@dataclass(slots=True, kw_only=True)
class Fold:
    """A stream's text as far as it was read."""

    text: str = ""
    message_id: str = ""
    seq: int = 0
    finished: bool = False
    completed: bool = False
    arrivals: list[tuple[int, int]] = field(default_factory=list)
    """Time (ns) and length of the text at that time, for each message that brought text."""

    def take_text(self, time: int, text: str) -> None:
        """Append."""
        self.text += text
        if self.arrivals and self.arrivals[-1][0] == time:
            self.arrivals.pop()
        self.arrivals.append((time, len(self.text)))

    def take_event(self, time: int, event: RunEvent) -> None:
        """Fold one event of a run with one message. Raises StreamFault for a gap, a repeat, or a run that failed."""
        if event.first_seq != self.seq + 1 or event.seq < event.first_seq:
            raise StreamFault(f"event {event.first_seq}-{event.seq} comes after {self.seq}")
        if self.completed:
            raise StreamFault("an event comes after the last one")
        self.seq = event.seq
        kind = event.WhichOneof("event")
        if kind == "text_delta":
            self._take_delta(time, event)
        elif kind == "message_started":
            if self.message_id:
                raise StreamFault("a second message; the answer is one")
            self.message_id = event.message_started.message_id
        elif kind == "message_finished":
            if event.message_finished.text_sha256 != hashlib.sha256(self.text.encode()).hexdigest():
                raise StreamFault("text_sha256 is not that of the text")
            self.finished = True
        elif kind == "message_discarded":
            raise StreamFault("the message was discarded")
        elif kind in ("failed", "cancelled"):
            raise StreamFault(f"the run ended otherwise: {event}")
        elif kind == "completed":
            self.completed = True

    def _take_delta(self, time: int, event: RunEvent) -> None:
        if self.finished or event.text_delta.message_id != self.message_id:
            raise StreamFault("a delta of a message that is not being written")
        self.take_text(time, event.text_delta.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRecord:
    """One stream that was whole. Times are nanoseconds of the machine's monotonic clock."""

    messages: int
    """gRPC messages."""
    tokens: int
    wire_bytes: int
    """Bytes of the gRPC messages."""
    started: int
    first_token: int
    ended: int
    epoch: int
    """When the first token was due."""
    lateness: list[int]
    """Per token, nanoseconds from when it was due at the provider to its arrival."""


def read_completion(event: bytes) -> str:
    """The text that an event of a chat completion adds."""
    if event == b"[DONE]":
        return ""
    return "".join(choice["delta"].get("content") or "" for choice in json.loads(event)["choices"])


READERS: Final[Mapping[Wire, Callable[[bytes], str]]] = {
    Wire.TEXT: lambda message: TextPart.FromString(message).text,
    Wire.COMPLETIONS: read_completion,
    Wire.EVENTS: lambda event: str(json.loads(event)["text"]),
}


def fold_messages(wire: Wire, messages: list[tuple[int, bytes]]) -> Fold:
    """Fold a stream's messages. Raises StreamFault where they do not follow the contract."""
    fold = Fold()
    for time, message in messages:
        if wire is not Wire.RUN:
            if text := READERS[wire](message):
                fold.take_text(time, text)
            continue
        for event in SendMessageResponse.FromString(message).events:
            fold.take_event(time, event)
    if wire is Wire.RUN and not (fold.finished and fold.completed):
        raise StreamFault("the stream ended before its run")
    return fold


def read_stream(call: Call, wire: Wire, plan: AnswerPlan) -> StreamRecord:
    """Check that a call brought the whole answer that was planned, and nothing else.

    Raises StreamFault, naming the first thing that is wrong.
    """
    if fault := call.fault():
        raise StreamFault(fault)
    try:
        messages = split_events(call.chunks) if call.http else split_messages(call.chunks)
        fold = fold_messages(wire, messages)
        epoch = read_epoch(fold.text)
    except StreamFault:
        raise
    except (ValueError, KeyError, TypeError, DecodeError) as error:
        raise StreamFault(str(error)) from error
    first = write_token(0, epoch)
    if fold.text != first + write_rest(plan.tokens):
        raise StreamFault(describe_difference(fold.text, first + write_rest(plan.tokens)))
    times = list_token_times(fold.arrivals)
    return StreamRecord(
        messages=len(messages),
        tokens=len(times),
        wire_bytes=sum(len(message) for _, message in messages),
        started=call.started,
        first_token=times[0],
        ended=call.ended,
        epoch=epoch,
        lateness=[round(time - epoch - index * plan.interval_ns) for index, time in enumerate(times)],
    )


def list_token_times(arrivals: list[tuple[int, int]]) -> list[int]:
    """The time at which each token was whole."""
    times: list[int] = []
    for time, length in arrivals:
        times += [time] * (count_tokens(length) - len(times))
    return times


def describe_difference(text: str, expected: str) -> str:
    """Where and how a text differs from the one that was expected."""
    at = next(
        (index for index, (a, b) in enumerate(zip(text, expected, strict=False)) if a != b),
        min(len(text), len(expected)),
    )
    return (
        f"the text differs at {at}: {text[at : at + 20]!r} instead of {expected[at : at + 20]!r} "
        f"(length {len(text)}, expected {len(expected)})"
    )
