"""Asking goes on to the next model where a provider fails, asks again for a schema, and knows when not to."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest

from chatter_grpc.adapters.models.scripted import CallState, Gate, ProviderError, Script, ScriptedChat, answer_script
from chatter_grpc.core.asking import Asking
from chatter_grpc.core.conversations import ModelSettings
from chatter_grpc.core.errors import (
    ContextExceeded,
    FieldInvalid,
    ImagesNotTaken,
    ModelUnknown,
    ProviderRateLimited,
    ProviderRefused,
    ProviderStreamBroken,
    ProviderTimeout,
    ProviderUnavailable,
    ResponseSchemaViolated,
)
from chatter_grpc.core.images import image_part
from chatter_grpc.core.inquiries import Inquiry
from chatter_grpc.core.messages import TextPart
from chatter_grpc.core.models import (
    Finished,
    FinishReason,
    Image,
    ModelDelta,
    ModelRequest,
    Role,
    TextPiece,
    TokenCount,
    Turn,
)
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
from tests.support.asking import WordSchemas, asking_of
from tests.support.attempts import Written, new_writer
from tests.support.catalogues import Catalogue
from tests.support.images import PNG
from tests.support.waiting import soon, until

FIRST, SECOND, THIRD = "scripted/first", "scripted/second", "scripted/third"
CHAIN = {FIRST: [SECOND, THIRD], SECOND: [FIRST]}
TURNS = (Turn(role=Role.USER, text="four"),)
STOP = Finished(FinishReason.STOP)
FAILURES: list[ProviderError] = [
    ProviderUnavailable(provider="scripted"),
    ProviderRateLimited(provider="scripted"),
    ProviderTimeout(provider="scripted", phase="idle"),
    ProviderStreamBroken(provider="scripted"),
]
PASSED = pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)


def chain(*scripts: Script, **facts: Any) -> tuple[Asking, list[ScriptedChat]]:
    """Three models of which the second and third are asked where the first one fails."""
    chats = [ScriptedChat(script) for script in scripts]
    names = ("first", "second", "third")
    return asking_of(Catalogue(dict(zip(names, chats, strict=False)), fallbacks=chains(len(chats)), **facts)), chats


def chains(count: int) -> dict[str, list[str]]:
    known = (FIRST, SECOND, THIRD)[:count]
    return {name: [each for each in following if each in known] for name, following in CHAIN.items()}


async def write(asking: Asking, written: Written, *, model: str = FIRST, schema: str = "") -> FinishedMessage:
    inquiry = Inquiry(turns=TURNS, settings=ModelSettings(model=model), response_schema=schema)
    return await asking.write(written.writer.open_step("n", "model"), inquiry)


def kinds(written: Written) -> list[type]:
    return [type(body) for body in written.bodies()]


@PASSED
async def test_a_model_that_fails_before_it_says_anything_is_followed_by_the_next(failure: ProviderError) -> None:
    asking, chats = chain([failure], answer_script("Hello"))
    written = new_writer()
    message = await write(asking, written)
    assert (message.text, message.model, message.provider) == ("Hello", SECOND, "scripted")
    assert [chat.calls[0].request.model for chat in chats] == [FIRST, SECOND]
    assert kinds(written) == [NodeStarted, MessageStarted, Deltas, UsageReported, MessageFinished]
    assert written.writer.usage == message.usage


@PASSED
async def test_what_a_model_wrote_before_it_failed_is_taken_back_and_paid_for(failure: ProviderError) -> None:
    asking, _ = chain([TextPiece("Hel"), TokenCount(10, 1), failure], answer_script("Hello there"))
    written = new_writer()
    message = await write(asking, written)
    begun, taken_back = [MessageStarted, Deltas, UsageReported], [MessageDiscarded]
    bodies = written.bodies()
    assert [type(body) for body in bodies] == [NodeStarted, *begun, *taken_back, *begun, MessageFinished]
    discarded = next(body for body in bodies if isinstance(body, MessageDiscarded))
    started = [body for body in bodies if isinstance(body, MessageStarted)]
    assert [(each.message_id, each.model) for each in started] == [
        (discarded.message_id, FIRST),
        (message.id, SECOND),
    ]
    # Each at its own price; both cost one micro-dollar a token in and two out.
    assert message.usage == Usage(input_tokens=1, output_tokens=2, cost_micros=5)
    assert written.writer.usage == Usage(input_tokens=11, output_tokens=3, cost_micros=12 + 5)
    assert [each.text for each in written.writer.messages] == ["Hello there"]


async def test_what_is_known_to_be_consumed_is_paid_for_though_nothing_was_written() -> None:
    asking, _ = chain([TokenCount(10, 0), FAILURES[0]], answer_script("Hello"))
    written = new_writer()
    await write(asking, written)
    assert kinds(written) == [NodeStarted, UsageReported, MessageStarted, Deltas, UsageReported, MessageFinished]
    assert written.writer.usage.input_tokens == 11


async def test_each_model_of_the_chain_is_asked_once_and_the_last_failure_counts() -> None:
    asking, chats = chain(*([TextPiece("x"), failure] for failure in FAILURES[:3]))
    written = new_writer()
    with pytest.raises(ProviderTimeout):
        await write(asking, written)
    assert [len(chat.calls) for chat in chats] == [1, 1, 1]
    assert not written.writer.messages
    assert kinds(written).count(MessageDiscarded) == 3


async def test_only_the_list_of_the_model_that_was_asked_for_counts() -> None:
    asking, chats = chain([FAILURES[0]], [FAILURES[1]], answer_script("Hello"))
    with pytest.raises(ProviderUnavailable):
        await write(asking, new_writer(), model=SECOND)
    assert [len(chat.calls) for chat in chats] == [1, 1, 0]
    with pytest.raises(ProviderUnavailable):
        await write(chain([FAILURES[0]])[0], new_writer())


@pytest.mark.parametrize("text", [[], [TextPiece("x")]], ids=["at once", "in mid-answer"])
async def test_a_refusal_is_not_passed_on(text: list[TextPiece]) -> None:
    asking, chats = chain([*text, ProviderRefused(provider="scripted", status=400)], answer_script("Hello"))
    with pytest.raises(ProviderRefused):
        await write(asking, new_writer())
    assert not chats[1].calls


async def test_what_a_filter_cut_off_is_not_passed_on() -> None:
    asking, chats = chain([TextPiece("x"), Finished(FinishReason.CONTENT_FILTER)], answer_script("Hello"))
    assert (await write(asking, new_writer())).finish_reason is FinishReason.CONTENT_FILTER
    assert not chats[1].calls


@pytest.mark.parametrize("failing", [True, False], ids=["the first is at work", "the second is at work"])
async def test_a_cancelled_answer_is_not_passed_on(failing: bool) -> None:
    slow: Script = [TextPiece("Hel"), Gate(asyncio.Event()), STOP]
    asking, chats = chain(*([[FAILURES[0]], slow] if failing else [slow, answer_script("x")]))
    at_work = chats[1] if failing else chats[0]
    written = new_writer()
    task = asyncio.create_task(write(asking, written))
    await until(lambda: bool(at_work.calls and at_work.calls[0].delivered))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    assert at_work.calls[0].state is CallState.CLOSED
    assert sum(len(chat.calls) for chat in chats) == (2 if failing else 1)
    (message,) = written.writer.messages
    assert (message.text, message.finish_reason) == ("Hel", FinishReason.CANCELLED)


class Clumsy:
    """A chat whose connection breaks as it is cancelled, which it then reports instead."""

    provider = "scripted"

    def __init__(self) -> None:
        self.called = asyncio.Event()

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Sequence[ModelDelta], None]:
        yield (TextPiece("Hel"),)
        self.called.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ProviderStreamBroken(provider="scripted") from None


async def test_a_failure_that_a_cancellation_has_become_is_not_passed_on() -> None:
    clumsy, second = Clumsy(), ScriptedChat(answer_script("x"))
    asking = asking_of(Catalogue({"first": clumsy, "second": second}, fallbacks=chains(2)))
    written = new_writer()
    task = asyncio.create_task(write(asking, written))
    await soon(clumsy.called.wait())
    task.cancel()
    with pytest.raises(ProviderStreamBroken):
        await soon(task)
    assert not second.calls
    assert [message.finish_reason for message in written.writer.messages] == [FinishReason.CANCELLED]


class SlowSchemas(WordSchemas):
    """Checks that never end."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    async def fault_of(self, schema: str, answer: str, *, owner_id: str = "") -> str | None:
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError


async def test_an_answer_that_is_cancelled_while_it_is_checked_is_kept_as_cancelled() -> None:
    schemas = SlowSchemas()
    asking = asking_of(Catalogue({"first": ScriptedChat(answer_script("red"))}), schemas)
    written = new_writer()
    task = asyncio.create_task(write(asking, written, schema="green"))
    await soon(schemas.asked.wait())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    (message,) = written.writer.messages
    assert (message.text, message.finish_reason) == ("red", FinishReason.CANCELLED)


async def test_a_fallback_that_cannot_be_asked_this_is_passed_over() -> None:
    asking, chats = chain([FAILURES[0]], answer_script("no"), answer_script("yes"))
    models = asking.models
    assert isinstance(models, Catalogue)
    models.know(SECOND, context_tokens=1)
    assert (await write(asking, new_writer())).text == "yes"
    assert not chats[1].calls
    models.know(THIRD, context_tokens=1)
    with pytest.raises(ProviderUnavailable):
        await write(asking, new_writer())


async def test_an_answer_that_keeps_the_schema_is_written_once() -> None:
    asking, (chat,) = chain(answer_script("a green garden"))
    written = new_writer()
    assert (await write(asking, written, schema="green")).text == "a green garden"
    assert len(chat.calls) == 1
    assert kinds(written)[-1] is MessageFinished


async def test_an_answer_that_does_not_keep_it_is_taken_back_and_asked_for_once_more() -> None:
    chat = ScriptedChat(answer_script("a red garden"), answer_script("a green one"))
    asking, written = asking_of(Catalogue({"first": chat})), new_writer()
    message = await write(asking, written, schema="green")
    assert (message.text, [each.text for each in written.writer.messages]) == ("a green one", ["a green one"])
    begun = [MessageStarted, Deltas, UsageReported]
    assert kinds(written) == [NodeStarted, *begun, MessageDiscarded, *begun, MessageFinished]
    assert written.writer.usage.output_tokens == 6, "both were paid for"
    again = chat.calls[1].request
    assert [turn.text for turn in again.turns[:2]] == ["four", "a red garden"]
    assert "it lacks green" in again.turns[2].text


async def test_the_second_answer_that_does_not_keep_it_is_the_last() -> None:
    asking, (first, second) = chain(answer_script("a red garden"), answer_script("green"))
    written = new_writer()
    with pytest.raises(ResponseSchemaViolated) as caught:
        await write(asking, written, schema="green")
    assert caught.value.metadata == {"model": FIRST}
    assert (len(first.calls), len(second.calls)) == (2, 0), "no other model is asked: it is no failure of the provider"
    assert not written.writer.messages
    assert kinds(written)[-1] is MessageDiscarded


@pytest.mark.parametrize("reason", [FinishReason.LENGTH, FinishReason.CONTENT_FILTER])
async def test_an_answer_that_was_cut_off_is_not_asked_for_again(reason: FinishReason) -> None:
    asking, (chat,) = chain([TextPiece("a red"), Finished(reason)])
    with pytest.raises(ResponseSchemaViolated):
        await write(asking, new_writer(), schema="green")
    assert len(chat.calls) == 1


async def test_a_provider_that_fails_at_the_second_answer_is_followed_by_the_next() -> None:
    first = ScriptedChat(answer_script("red"), [TextPiece("gr"), FAILURES[0]])
    second = ScriptedChat(answer_script("green"))
    models = Catalogue({"first": first, "second": second}, fallbacks=chains(2))
    written = new_writer()
    message = await write(asking_of(models), written, schema="green")
    assert (message.text, message.model) == ("green", SECOND)
    assert kinds(written).count(MessageDiscarded) == 2
    assert [turn.text for turn in second.calls[0].request.turns] == ["four"], "it is asked anew, not to correct"


def test_what_is_to_be_asked_is_checked_before() -> None:
    asking, _ = chain(answer_script("x"), context_tokens=100)
    parts = (TextPart(text="Hello"),)
    assert asking.check(ModelSettings(model=FIRST), parts).name == FIRST
    assert asking.check(ModelSettings(), parts).name == FIRST
    with pytest.raises(ModelUnknown):
        asking.check(ModelSettings(model="scripted/none"), parts)
    with pytest.raises(ImagesNotTaken):
        asking.check(ModelSettings(), (image_part("image/png", PNG),))
    with pytest.raises(ContextExceeded):
        asking.check(ModelSettings(), (TextPart(text="x" * 400),))
    with pytest.raises(ContextExceeded):
        asking.check(ModelSettings(), parts, "x" * 400)


async def test_a_schema_that_cannot_be_used_is_a_violation_of_its_field() -> None:
    asking, _ = chain(answer_script("x"))
    await asking.check_schema("")
    await asking.check_schema("green")
    with pytest.raises(FieldInvalid) as caught:
        await asking.check_schema("two words")
    assert [(each.field, each.description) for each in caught.value.violations] == [
        ("response_schema", "must be a word")
    ]


async def test_images_of_the_question_reach_a_model_that_takes_them() -> None:
    asking, (chat,) = chain(answer_script("x"), takes_images=True)
    turn = Turn(role=Role.USER, text="", images=(Image(media_type="image/png", data=PNG),))
    inquiry = Inquiry(turns=(turn,), settings=ModelSettings(model=FIRST))
    written = new_writer()
    message = await asking.write(written.writer.open_step("n", "model"), inquiry)
    assert chat.calls[0].request.turns == (turn,)
    assert message.text == "x"
