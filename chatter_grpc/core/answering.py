"""Asks a model and writes its answer into a run as it arrives."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import cast

from chatter_grpc.core.errors import ProviderStreamBroken
from chatter_grpc.core.inquiries import estimate_turn
from chatter_grpc.core.models import (
    Finished,
    FinishReason,
    ModelDelta,
    ModelRequest,
    OfferedModel,
    ReasoningPiece,
    TextPiece,
    TokenCount,
)
from chatter_grpc.core.observed_chat import ObservedChat
from chatter_grpc.core.runs.writer import FinishedMessage, MessageWriter, StepWriter
from chatter_grpc.core.usage import Usage, estimate_tokens, usage_of

# Says what is wrong with an answer that is complete, ``None`` where nothing is.
FaultOf = Callable[[str], Awaitable[str | None]]


class AnswerRefused(Exception):
    """A complete answer was taken back for its fault; the message holds nothing of it."""

    def __init__(self, answer: str, fault: str, finish_reason: FinishReason) -> None:
        self.answer = answer
        self.fault = fault
        self.finish_reason = finish_reason
        super().__init__("the answer has a fault")


async def write_answer(
    step: StepWriter, model: OfferedModel, request: ModelRequest, fault_of: FaultOf | None = None
) -> FinishedMessage:
    """Stream one answer of ``model`` into ``step`` and return it finished.

    A cancellation closes the provider's connection, finishes the message as far as it came, or discards it where that
    is no text yet, and goes on upwards. An answer that fills its message ends there, for its length, and the connection
    is closed too. A failure, the provider's or ours, discards what was written and is raised on. So is an answer in
    which ``fault_of`` finds a fault, as ``AnswerRefused``; it is asked before the message is made final.
    """
    answer = _Answer(step.start_message(model.info.name, model.info.provider), model, request)
    # The port promises an async generator; leaving the block closes it, and with it the provider's connection.
    batches = cast("AsyncGenerator[Sequence[ModelDelta]]", ObservedChat(model.chat, step.observer).stream(request))
    try:
        async with aclosing(batches):
            async for batch in batches:
                answer.take(batch)
                if answer.message.full:
                    # Leaving closes the provider's connection: what it would say still is dropped.
                    answer.finish_reason = FinishReason.LENGTH
                    break
                await step.room()
        if answer.finish_reason is None:
            raise ProviderStreamBroken(provider=model.info.provider)
        fault = None if fault_of is None else await fault_of(answer.message.written)
        if fault is not None:
            raise AnswerRefused(answer.message.written, fault, answer.finish_reason)
        return answer.message.finish(answer.finish_reason, answer.usage())
    except BaseException:
        if not is_cancelled():
            answer.discard()
        elif answer.message.written:
            answer.message.finish(FinishReason.CANCELLED, answer.usage())
        else:
            # The model was called, and reads what it was sent whether it is listened to or not. What it has thought is
            # no answer: it would stand in the place of the one that is regenerated.
            answer.message.discard(answer.usage())
        raise


def is_cancelled() -> bool:
    """Whether the task is being cancelled, whatever error that has become on its way."""
    # A provider whose connection fails to close as it is cancelled may raise something else.
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class _Answer:
    """What is known of an answer while it arrives."""

    def __init__(self, message: MessageWriter, model: OfferedModel, request: ModelRequest) -> None:
        self.message = message
        self.finish_reason: FinishReason | None = None
        self._model = model
        self._request = request
        self._count: TokenCount | None = None
        self._reasoning_size = 0

    def take(self, batch: Sequence[ModelDelta]) -> None:
        """Write a batch of deltas."""
        message = self.message
        for delta in batch:
            if isinstance(delta, TextPiece):
                message.add_text(delta.text)
            elif isinstance(delta, ReasoningPiece):
                self._reasoning_size += estimate_tokens(delta.text)
                message.add_reasoning(delta.text)
            elif isinstance(delta, TokenCount):
                self._count = delta
            elif isinstance(delta, Finished):
                self.finish_reason = delta.reason

    def discard(self) -> None:
        """Take back what was written, and count what is known to have been consumed."""
        if self.message.started or self._count is not None:
            self.message.discard(self.usage())

    def usage(self) -> Usage:
        """Return the provider's count, or an estimate where it gave none."""
        if self._count is not None:
            return usage_of(self._count, self._model.info.price, estimated=False)
        prompt = estimate_tokens(self._request.system_prompt)
        prompt += estimate_tokens(self._request.response_schema or "")
        prompt += sum(estimate_turn(turn) for turn in self._request.turns)
        count = TokenCount(prompt, estimate_tokens(self.message.written) + self._reasoning_size)
        return usage_of(count, self._model.info.price, estimated=True)
