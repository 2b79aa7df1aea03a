"""Asks a model and writes its answer into a run as it arrives."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import cast

from chatter_grpc.core.budgets import Grant, ModelCall, most_read
from chatter_grpc.core.errors import BudgetExceeded, ProviderStreamBroken
from chatter_grpc.core.inquiries import call_for
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
    """A complete answer was taken back for its fault; the message holds nothing of it.

    ``shortage`` is set where the run's budget cut it off.
    """

    def __init__(
        self, answer: str, fault: str, finish_reason: FinishReason, shortage: BudgetExceeded | None = None
    ) -> None:
        self.answer = answer
        self.fault = fault
        self.finish_reason = finish_reason
        self.shortage = shortage
        super().__init__("the answer has a fault")


async def write_answer(
    step: StepWriter, model: OfferedModel, request: ModelRequest, fault_of: FaultOf | None = None
) -> FinishedMessage:
    """Stream one answer of ``model`` into ``step`` and return it finished.

    A cancellation closes the provider's connection, finishes the message as far as it came, or discards it where that
    is no text yet or another attempt is to go on, and goes on upwards. An answer that fills its message ends there, for
    its length, and the connection is closed too. A failure, the provider's or ours, discards what was written and is
    raised on. So is an answer in which ``fault_of`` finds a fault, as ``AnswerRefused``; it is asked before the message
    is made final.
    """
    call = call_for(model.info, request)
    message = step.start_message(model.info.name, model.info.provider, call)
    grant = await step.reserve(replace(call, message_id=message.id))
    if grant is not None:
        request = replace(request, max_tokens=grant.reservation.output_tokens or request.max_tokens)
    answer = _Answer(message, model, call, grant)
    # The port promises an async generator; leaving the block closes it, and with it the provider's connection.
    batches = cast("AsyncGenerator[Sequence[ModelDelta]]", ObservedChat(model.chat, step.observer).stream(request))
    try:
        async with aclosing(batches):
            async for batch in batches:
                answer.take(batch)
                if message.full or answer.overdrawn:
                    # Leaving closes the provider's connection: what it would say still is dropped.
                    answer.cut_off()
                    break
                await step.room()
        if answer.finish_reason is None:
            raise ProviderStreamBroken(provider=model.info.provider)
        fault = None if fault_of is None else await fault_of(answer.message.written)
        if fault is not None:
            raise answer.refused(fault)
        return answer.message.finish(answer.finish_reason, answer.usage())
    except BaseException:
        if not is_cancelled():
            answer.discard()
        elif answer.message.written and not step.leaving:
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

    def __init__(self, message: MessageWriter, model: OfferedModel, call: ModelCall, grant: Grant | None) -> None:
        self.message = message
        self.finish_reason: FinishReason | None = None
        self._model = model
        self._call = call
        self._grant = grant
        self._given = grant.reservation.output_tokens if grant is not None else 0
        self._count: TokenCount | None = None
        self._estimated = False
        self._reasoning_size = 0

    @property
    def overdrawn(self) -> bool:
        """Whether the provider goes on well past what the budget allowed it to be asked for."""
        if not self._given or self.finish_reason is not None:
            return False
        counted = 0 if self._count is None else self._count.output_tokens
        return counted > self._given or self.message.estimated_tokens > most_read(self._given)

    def cut_off(self) -> None:
        """End it here, for its length; what the provider counted up to now may be little of it."""
        self.finish_reason = FinishReason.LENGTH
        if self._count is not None:
            output = max(self._count.output_tokens, self.message.estimated_tokens)
            self._estimated = output > self._count.output_tokens
            self._count = TokenCount(self._count.input_tokens, output)

    def refused(self, fault: str) -> AnswerRefused:
        """Return why it may not stand."""
        assert self.finish_reason is not None
        shortage = None
        if self._grant is not None and self.finish_reason is FinishReason.LENGTH:
            shortage = self._grant.shortage
        return AnswerRefused(self.message.written, fault, self.finish_reason, shortage)

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
        else:
            self.message.release()

    def usage(self) -> Usage:
        """Return the provider's count, or an estimate where it gave none."""
        if self._count is not None:
            return usage_of(self._count, self._model.info.price, estimated=self._estimated)
        count = TokenCount(self._call.input_tokens, estimate_tokens(self.message.written) + self._reasoning_size)
        return usage_of(count, self._model.info.price, estimated=True)
