"""The scripted model plays its scripts and remembers what happened."""

import asyncio

import pytest

from chatter_grpc.adapters.models.scripted import (
    CallState,
    Gate,
    Pause,
    Script,
    ScriptedChat,
    Together,
    answer_script,
)
from chatter_grpc.core.errors import ProviderTimeout, ProviderUnavailable
from chatter_grpc.core.models import Finished, FinishReason, TextPiece, TokenCount
from tests.support.deltas import ask, batches_of, deltas_of, text_of

END = Finished(FinishReason.STOP)
GONE = ProviderUnavailable(provider="scripted")


async def test_an_answer_comes_word_by_word_with_its_count() -> None:
    assert await batches_of(ScriptedChat(answer_script("one two")), ask("hello")) == [
        (TextPiece("one "),),
        (TextPiece("two"),),
        (TokenCount(1, 2),),
        (END,),
    ]


async def test_each_call_plays_the_next_script_and_the_last_one_again() -> None:
    chat = ScriptedChat(answer_script("first"), answer_script("second"))
    assert [text_of(await deltas_of(chat, ask("hello"))) for _ in range(3)] == ["first", "second", "second"]


async def test_deltas_may_come_together() -> None:
    both = (TextPiece("one"), TextPiece("two"))
    assert await batches_of(ScriptedChat((Together(both), Pause(0), END)), ask("hello")) == [both, (END,)]


async def test_a_call_is_remembered_from_its_beginning_to_its_end() -> None:
    gate = asyncio.Event()
    chat = ScriptedChat((TextPiece("one"), Gate(gate), END))
    reading = asyncio.ensure_future(deltas_of(chat, ask("hello")))
    await chat.wait_for_calls(1)
    assert chat.calls[0].request == ask("hello")
    states = [chat.calls[0].state]
    gate.set()
    assert await reading == [TextPiece("one"), END]
    states.append(chat.calls[0].state)
    assert states == [CallState.OPEN, CallState.FINISHED]
    assert chat.calls[0].delivered == [TextPiece("one"), END]


async def test_a_failure_is_raised_where_the_script_says_so() -> None:
    chat = ScriptedChat((TextPiece("one"), GONE))
    with pytest.raises(ProviderUnavailable):
        await deltas_of(chat, ask("hello"))
    assert chat.calls[0].delivered == [TextPiece("one")]
    assert chat.calls[0].state is CallState.FAILED


async def test_a_gate_that_nobody_opens_does_not_hold_a_test_for_ever() -> None:
    chat = ScriptedChat((Gate(asyncio.Event()), END), gate_seconds=0.01)
    with pytest.raises(ProviderTimeout):
        await deltas_of(chat, ask("hello"))


async def test_a_call_that_does_not_come_is_not_waited_for_long() -> None:
    with pytest.raises(TimeoutError):
        await ScriptedChat(answer_script("x")).wait_for_calls(1, seconds=0.01)


@pytest.mark.parametrize(
    "script",
    [
        (),
        (TextPiece("no end"),),
        (END, END),
        (END, TextPiece("late")),
        (GONE, END),
        (END, GONE),
        (TextPiece(""), END),
        (TextPiece("\ud83d"), END),
        (Together(()), END),
    ],
    ids=["empty", "no end", "two ends", "text after", "after error", "end and error", "no text", "half", "no batch"],
)
def test_a_script_that_breaks_the_ports_promises_is_refused(script: Script) -> None:
    with pytest.raises(ValueError, match=r"script|piece|batch"):
        ScriptedChat(script)


def test_a_model_without_a_script_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a script"):
        ScriptedChat()
