"""Writing an answer: whatever a model does, the message is finished, discarded, or was never begun."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

import pytest

from chatter_grpc.adapters.models.scripted import CallState, Gate, Script, ScriptedChat, Together
from chatter_grpc.core.answering import write_answer
from chatter_grpc.core.errors import ProviderRefused, ProviderStreamBroken, ProviderUnavailable
from chatter_grpc.core.messages import sha256_of
from chatter_grpc.core.models import (
    ChatModel,
    Finished,
    FinishReason,
    ModelDelta,
    ModelInfo,
    ModelRequest,
    OfferedModel,
    Price,
    ReasoningPiece,
    Role,
    TextPiece,
    TokenCount,
    Turn,
)
from chatter_grpc.core.runs.committer import CommitSettings
from chatter_grpc.core.runs.events import (
    Deltas,
    MessageDiscarded,
    MessageFinished,
    MessageStarted,
    NodeStarted,
    UsageReported,
)
from chatter_grpc.core.runs.writer import FinishedMessage
from chatter_grpc.core.usage import Usage
from tests.support.attempts import Written, new_writer
from tests.support.waiting import soon, until

PRICE = Price(input_micros=1_000_000, output_micros=2_000_000)
REQUEST = ModelRequest(
    model="scripted/model",
    turns=(Turn(role=Role.USER, text="four"), Turn(role=Role.ASSISTANT, text="also")),
    system_prompt="1234",
)
STOP = Finished(FinishReason.STOP)


def offered(chat: ChatModel, price: Price | None = PRICE) -> OfferedModel:
    return OfferedModel(info=ModelInfo(name="scripted/model", provider="scripted", price=price), chat=chat)


async def answer(written: Written, chat: ChatModel, price: Price | None = PRICE) -> FinishedMessage:
    return await write_answer(written.writer.open_step("n", "model"), offered(chat, price), REQUEST)


def kinds(written: Written) -> list[type]:
    return [type(body) for body in written.bodies()]


async def test_an_answer_is_written_as_it_came() -> None:
    written = new_writer()
    script: Script = [ReasoningPiece("hm"), Together((TextPiece("Hel"), TextPiece("lo"))), TokenCount(3, 2), STOP]
    message = await answer(written, ScriptedChat(script))
    assert (message.text, message.text_sha256) == ("Hello", sha256_of("Hello"))
    assert message.usage == Usage(input_tokens=3, output_tokens=2, cost_micros=7)
    assert (message.model, message.provider, message.finish_reason) == ("scripted/model", "scripted", FinishReason.STOP)
    assert kinds(written) == [NodeStarted, MessageStarted, Deltas, Deltas, UsageReported, MessageFinished]
    assert written.writer.usage == message.usage


@pytest.mark.parametrize("reason", [FinishReason.LENGTH, FinishReason.CONTENT_FILTER])
async def test_why_it_ended_is_kept(reason: FinishReason) -> None:
    message = await answer(new_writer(), ScriptedChat([TextPiece("x"), Finished(reason)]))
    assert message.finish_reason is reason


async def test_a_count_may_come_before_the_text_and_the_last_one_holds() -> None:
    script: Script = [TokenCount(1, 1), TextPiece("x"), STOP, TokenCount(5, 6)]
    message = await answer(new_writer(), ScriptedChat(script))
    assert message.usage == Usage(input_tokens=5, output_tokens=6, cost_micros=17)


async def test_without_a_count_usage_is_estimated_from_all_that_was_said() -> None:
    script: Script = [ReasoningPiece("12345678"), TextPiece("1234"), STOP]
    message = await answer(new_writer(), ScriptedChat(script))
    assert message.usage == Usage(input_tokens=3, output_tokens=3, cost_micros=9, estimated=True)


async def test_without_a_price_the_cost_is_unknown() -> None:
    message = await answer(new_writer(), ScriptedChat([TextPiece("x"), TokenCount(1, 1), STOP]), price=None)
    assert message.usage.cost_micros is None


async def test_an_answer_may_be_empty() -> None:
    written = new_writer()
    message = await answer(written, ScriptedChat([TokenCount(3, 0), STOP]))
    assert message.text == ""
    assert kinds(written) == [NodeStarted, MessageStarted, UsageReported, MessageFinished]


async def test_a_failure_before_the_first_piece_leaves_no_message() -> None:
    written = new_writer()
    with pytest.raises(ProviderRefused):
        await answer(written, ScriptedChat([ProviderRefused(provider="scripted", status=401)]))
    assert kinds(written) == [NodeStarted]
    assert not written.writer.messages


async def test_a_failure_after_it_takes_the_message_back_and_keeps_what_it_cost() -> None:
    written = new_writer()
    with pytest.raises(ProviderUnavailable):
        await answer(written, ScriptedChat([TextPiece("1234"), ProviderUnavailable(provider="scripted")]))
    assert kinds(written) == [NodeStarted, MessageStarted, Deltas, UsageReported, MessageDiscarded]
    assert not written.writer.messages
    assert written.writer.usage == Usage(input_tokens=3, output_tokens=1, cost_micros=5, estimated=True)


class Broken:
    """A chat that keeps none of the port's promises but the type."""

    provider = "scripted"

    def __init__(self, *deltas: ModelDelta, error: Exception | None = None) -> None:
        self._deltas, self._error = deltas, error

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Sequence[ModelDelta], None]:
        for delta in self._deltas:
            yield (delta,)
        if self._error is not None:
            raise self._error


async def test_a_stream_that_ends_without_saying_so_is_no_answer() -> None:
    written = new_writer()
    with pytest.raises(ProviderStreamBroken):
        await answer(written, Broken(TextPiece("x")))
    assert kinds(written)[-1] is MessageDiscarded


async def test_a_fault_in_an_adapter_takes_the_message_back_too() -> None:
    written = new_writer()
    with pytest.raises(ZeroDivisionError):
        await answer(written, Broken(TextPiece("x"), error=ZeroDivisionError()))
    assert kinds(written)[-1] is MessageDiscarded


async def cancelled_at(script: Callable[[Gate], Script]) -> tuple[Written, ScriptedChat]:
    gate = Gate(asyncio.Event())
    chat, written = ScriptedChat(script(gate)), new_writer()
    task = asyncio.create_task(answer(written, chat))
    await until(lambda: bool(chat.calls))
    await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    return written, chat


async def test_a_cancelled_answer_is_kept_as_far_as_it_came() -> None:
    written, chat = await cancelled_at(lambda gate: [TextPiece("Hel"), gate, TextPiece("lo"), STOP])
    (message,) = written.writer.messages
    assert (message.text, message.finish_reason) == ("Hel", FinishReason.CANCELLED)
    assert message.usage.estimated
    assert chat.calls[0].state is CallState.CLOSED, "the provider's connection is closed before anything else"
    assert kinds(written)[-1] is MessageFinished


async def test_an_answer_cancelled_before_its_first_piece_leaves_no_message_but_what_was_asked_counts() -> None:
    written, chat = await cancelled_at(lambda gate: [gate, TextPiece("x"), STOP])
    assert kinds(written) == [NodeStarted, UsageReported]
    assert written.writer.usage == Usage(input_tokens=3, cost_micros=3, estimated=True)
    assert chat.calls[0].state is CallState.CLOSED


async def test_what_was_only_thought_when_it_is_cancelled_is_no_answer_and_counts() -> None:
    written, chat = await cancelled_at(lambda gate: [ReasoningPiece("12345678"), gate, TextPiece("x"), STOP])
    assert kinds(written)[-2:] == [UsageReported, MessageDiscarded]
    assert written.writer.messages == []
    assert written.writer.usage.output_tokens == 2
    assert chat.calls[0].state is CallState.CLOSED


@pytest.mark.parametrize("kind", [TextPiece, ReasoningPiece])
async def test_an_answer_without_an_end_is_cut_off_and_the_provider_is_closed(
    kind: type[TextPiece] | type[ReasoningPiece],
) -> None:
    written = new_writer(max_message_bytes=10)
    chat = ScriptedChat([TextPiece("12345"), kind("é" * 4), TextPiece("never"), Gate(asyncio.Event()), STOP])
    message = await soon(answer(written, chat))
    # The third é would need its eleventh byte.
    assert message.text == ("12345éé" if kind is TextPiece else "12345")
    assert (message.finish_reason, message.text_sha256) == (FinishReason.LENGTH, sha256_of(message.text))
    assert message.usage.estimated
    assert chat.calls[0].state is CallState.CLOSED
    assert kinds(written)[-2:] == [UsageReported, MessageFinished]


async def test_an_answer_that_just_fits_is_whole() -> None:
    script: Script = [TextPiece("12345"), TextPiece("éé"), TokenCount(1, 1), STOP]
    message = await answer(new_writer(max_message_bytes=9), ScriptedChat(script))
    assert (message.text, message.finish_reason) == ("12345éé", FinishReason.STOP)


async def test_an_answer_that_may_not_write_on_is_cancelled_there() -> None:
    written, chat = new_writer(), ScriptedChat([TextPiece("x"), TextPiece("y"), STOP])
    written.writer._committer.settings = CommitSettings(max_size=1)
    task = asyncio.create_task(answer(written, chat))
    await until(lambda: bool(chat.calls and chat.calls[0].delivered))
    await asyncio.sleep(0.001)
    assert chat.calls[0].delivered == [TextPiece("x")], "the provider is not read further"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    assert chat.calls[0].state is CallState.CLOSED
    assert written.writer.messages[0].text == "x"
