"""Turns the bytes of an OpenAI-compatible answer into deltas."""

import logging
from enum import Enum
from typing import Final

from chatter_grpc.adapters.models.sse import EventParser
from chatter_grpc.adapters.models.surrogates import SurrogateJoiner
from chatter_grpc.adapters.models.wire import (
    DECODE_ERRORS,
    Choice,
    Chunk,
    Unreadable,
    WireUsage,
    decode_chunk,
    decode_odd_chunk,
)
from chatter_grpc.core.models import (
    Finished,
    FinishReason,
    ModelDelta,
    ReasoningPiece,
    TextPiece,
    TokenCount,
)

_FINISH_REASONS: Final = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "content_filter": FinishReason.CONTENT_FILTER,
}
_MOST_TOKENS: Final = 2**40
_NOTHING: Final = Chunk()

_log = logging.getLogger(__name__)


class Fault(Enum):
    """What makes the rest of a stream worthless."""

    UNREADABLE = "unreadable"
    PROVIDER_ERROR = "provider_error"


class AnswerReader:
    """Reads one answer: bytes in, deltas out.

    ``finish_reason`` is set once the provider says that the text is complete, ``ended`` once it says that nothing more
    follows, ``began`` once there was text or reasoning, ``fault`` where the stream cannot be read on; ``events`` counts
    what was read.
    """

    __slots__ = (
        "_count",
        "_halves",
        "_parser",
        "_reasoning",
        "_text",
        "began",
        "ended",
        "events",
        "fault",
        "finish_reason",
    )

    def __init__(self, *, max_event_bytes: int) -> None:
        self._parser = EventParser(max_event_bytes=max_event_bytes)
        self._text = SurrogateJoiner()
        self._reasoning = SurrogateJoiner()
        self._halves = False
        self._count: TokenCount | None = None
        self.began = False
        self.ended = False
        self.events = 0
        self.fault: Fault | None = None
        self.finish_reason: FinishReason | None = None

    def feed(self, data: bytes) -> list[ModelDelta]:
        """Return the deltas that these bytes complete, those before a fault included."""
        events = self._parser.feed(data)
        self.events += len(events)
        deltas: list[ModelDelta] = []
        for event in events:
            try:
                chunk = decode_chunk(event)
            except DECODE_ERRORS:
                chunk = self._decode_odd(event)
            if chunk.choices:
                self._read_choices(chunk.choices, deltas)
            if chunk.usage is not None:
                self._read_usage(chunk.usage, deltas)
            if chunk.error is not None:
                self.fault = Fault.PROVIDER_ERROR
            if self.ended or self.fault is not None:
                return deltas
        if self._parser.overflowed:
            self.fault = Fault.UNREADABLE
        return deltas

    def end(self) -> list[ModelDelta]:
        """Return what is owed at the end of a complete answer: halves of characters, then ``Finished``."""
        if self.finish_reason is None:
            raise ValueError("the answer is not complete")
        deltas: list[ModelDelta] = []
        if rest := self._reasoning.end():
            deltas.append(ReasoningPiece(rest))
        if rest := self._text.end():
            deltas.append(TextPiece(rest))
        deltas.append(Finished(self.finish_reason))
        return deltas

    def _read_choices(self, choices: list[Choice], deltas: list[ModelDelta]) -> None:
        for choice in choices:
            if choice.index:
                continue
            delta = choice.delta
            if delta is not None:
                reasoning = delta.reasoning_content or delta.reasoning
                if reasoning and self._halves:
                    reasoning = self._reasoning.feed(reasoning)
                if reasoning:
                    self.began = True
                    deltas.append(ReasoningPiece(reasoning))
                # A refusal is what the model says instead of an answer: the user is to read it.
                text = delta.content or delta.refusal
                if text and self._halves:
                    text = self._text.feed(text)
                if text:
                    self.began = True
                    deltas.append(TextPiece(text))
            if choice.finish_reason is not None and self.finish_reason is None:
                self.finish_reason = _finish_reason(choice.finish_reason)

    def _read_usage(self, usage: WireUsage, deltas: list[ModelDelta]) -> None:
        sent, received = usage.prompt_tokens or 0, usage.completion_tokens or 0
        if not (0 <= sent <= _MOST_TOKENS and 0 <= received <= _MOST_TOKENS):
            _log.warning("a provider's token count cannot be true and is ignored")
            return
        count = TokenCount(sent, received)
        if count != self._count:
            self._count = count
            deltas.append(count)

    def _decode_odd(self, event: bytes) -> Chunk:
        """Return what is in an event that is no plain chunk: the mark of the end, halves of characters, or a fault."""
        event = event.strip()
        if event == b"[DONE]":
            self.ended = True
        elif event:
            self._halves = True
            try:
                return decode_odd_chunk(event)
            except Unreadable:
                self.fault = Fault.UNREADABLE
        return _NOTHING


def _finish_reason(name: str) -> FinishReason:
    reason = _FINISH_REASONS.get(name)
    if reason is None:
        _log.debug("a provider's finish reason is not known and taken as a stop")
        return FinishReason.STOP
    return reason
