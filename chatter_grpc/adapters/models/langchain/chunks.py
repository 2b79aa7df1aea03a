"""Turns the chunks of a LangChain integration into deltas."""

import logging
from collections.abc import Callable
from typing import Any, Final

from langchain_core.messages import BaseMessageChunk
from langchain_core.outputs import ChatGenerationChunk

from chatter_grpc.adapters.models.surrogates import SurrogateJoiner
from chatter_grpc.core.models import Finished, FinishReason, ModelDelta, ReasoningPiece, TextPiece, TokenCount

_MOST_TOKENS: Final = 2**40
_COUNT_STEP: Final = 50

_log = logging.getLogger(__name__)


class ChunkReader:
    """Reads one answer: chunks in, deltas out.

    ``finish_reason`` is set once the provider says that the text is complete, ``counted`` once it has counted after
    that, so that nothing more is to come; ``began`` once there was text or reasoning.
    """

    def __init__(self, finish_reason: Callable[[ChatGenerationChunk], FinishReason | None]) -> None:
        """Take what finds in a chunk why the answer ended."""
        self._finish_reason = finish_reason
        self._text = SurrogateJoiner()
        self._reasoning = SurrogateJoiner()
        self._count = TokenCount(0, 0)
        self._told: TokenCount | None = None
        self.began = False
        self.counted = False
        self.finish_reason: FinishReason | None = None

    def feed(self, chunk: ChatGenerationChunk) -> list[ModelDelta]:
        """Return the deltas of a chunk; may be none."""
        deltas: list[ModelDelta] = []
        message = chunk.message
        if thought := message.additional_kwargs.get("reasoning_content"):
            self._say_thought(thought, deltas)
        content = message.content
        if isinstance(content, str):
            self._say(content, deltas)
        else:
            for block in content:
                self._read_block(block, deltas)
        if self.finish_reason is None:
            self.finish_reason = self._finish_reason(chunk)
        self._read_usage(message, deltas)
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

    def _read_block(self, block: str | dict[str, Any], deltas: list[ModelDelta]) -> None:
        """Take a block of text or reasoning; calls of tools, which nobody asked for, and signatures are neither."""
        if isinstance(block, str):
            self._say(block, deltas)
            return
        match block:
            case {"type": "text", "text": str(text)}:
                self._say(text, deltas)
            case {"type": "thinking", "thinking": str(thought)}:
                self._say_thought(thought, deltas)
            case {"type": "thinking", "thinking": list(parts)}:
                for part in parts:
                    if isinstance(part, dict):
                        self._say_thought(str(part.get("text", "")), deltas)
            case {"type": "reasoning_content", "reasoning_content": {"text": str(thought)}}:
                self._say_thought(thought, deltas)

    def _say(self, text: str, deltas: list[ModelDelta]) -> None:
        if said := self._text.feed(text) if text else "":
            self.began = True
            deltas.append(TextPiece(said))

    def _say_thought(self, thought: str, deltas: list[ModelDelta]) -> None:
        if said := self._reasoning.feed(thought) if thought else "":
            self.began = True
            deltas.append(ReasoningPiece(said))

    def _read_usage(self, message: BaseMessageChunk, deltas: list[ModelDelta]) -> None:
        # Of one chunk: what it adds to those before.
        usage = getattr(message, "usage_metadata", None)
        if not usage:
            return
        sent = self._count.input_tokens + (usage["input_tokens"] or 0)
        received = self._count.output_tokens + (usage["output_tokens"] or 0)
        if not (0 <= sent <= _MOST_TOKENS and 0 <= received <= _MOST_TOKENS):
            _log.warning("a provider's token count cannot be true and is ignored")
            return
        self.counted = self.finish_reason is not None
        self._count = TokenCount(sent, received)
        # Some count with every piece, which would be as many events.
        grown = received - (self._told.output_tokens if self._told else -_COUNT_STEP)
        if self._count != self._told and (grown >= _COUNT_STEP or self.finish_reason is not None):
            self._told = self._count
            deltas.append(self._count)
