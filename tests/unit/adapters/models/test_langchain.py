"""What is made of the answers of providers behind LangChain, and what becomes of their connections."""

import asyncio
import gc
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from chatter_grpc.adapters.models.http import HttpPool
from chatter_grpc.adapters.models.langchain.chat import LangChainChat
from chatter_grpc.core.models import Finished, FinishReason, ReasoningPiece, TextPiece, TokenCount
from tests.support.deltas import ask, count_of, deltas_of, reasoning_of, text_of
from tests.support.hosted import Hosted, MakeHostedChat
from tests.support.openai_plans import Fault, Plan
from tests.support.provider import until
from tests.support.standin import StandIn

FACE = "\U0001f600"
FINISHES = {
    "anthropic": {
        "end_turn": FinishReason.STOP,
        "stop_sequence": FinishReason.STOP,
        "max_tokens": FinishReason.LENGTH,
        "model_context_window_exceeded": FinishReason.LENGTH,
        "refusal": FinishReason.CONTENT_FILTER,
    },
    "google": {
        "STOP": FinishReason.STOP,
        "MAX_TOKENS": FinishReason.LENGTH,
        "SAFETY": FinishReason.CONTENT_FILTER,
        "RECITATION": FinishReason.CONTENT_FILTER,
        "PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER,
    },
    "ollama": {"stop": FinishReason.STOP, "length": FinishReason.LENGTH},
    "mistral": {
        "stop": FinishReason.STOP,
        "length": FinishReason.LENGTH,
        "model_length": FinishReason.LENGTH,
    },
    "aws": {
        "end_turn": FinishReason.STOP,
        "stop_sequence": FinishReason.STOP,
        "max_tokens": FinishReason.LENGTH,
        "content_filtered": FinishReason.CONTENT_FILTER,
        "guardrail_intervened": FinishReason.CONTENT_FILTER,
    },
}


async def test_an_answer_arrives_whole_with_its_usage(
    hosted: Hosted, hosted_chat: LangChainChat, standin: StandIn
) -> None:
    deltas = await deltas_of(hosted_chat, ask("good day to you", model=hosted.named()))
    assert text_of(deltas) == "You said: good day to you"
    assert count_of(deltas) == TokenCount(4, 6)
    assert deltas[-1] == Finished(FinishReason.STOP)
    assert standin.calls[0].complete


async def test_counts_that_come_with_every_piece_are_passed_on_now_and_then(
    hosted: Hosted, hosted_chat: LangChainChat, standin: StandIn
) -> None:
    standin.plan(Plan(tokens=200))
    counts = [
        delta
        for delta in await deltas_of(hosted_chat, ask("count", model=hosted.named()))
        if isinstance(delta, TokenCount)
    ]
    assert counts[-1].output_tokens == 200
    assert len(counts) <= 6


async def test_finish_reasons_are_understood(hosted: Hosted, hosted_chat: LangChainChat, standin: StandIn) -> None:
    for named, reason in FINISHES[hosted.provider].items():
        standin.plan(Plan(finish_reason=named))
        assert (await deltas_of(hosted_chat, ask("hello", model=hosted.named())))[-1] == Finished(reason), named


async def test_reasoning_is_told_from_text(hosted: Hosted, hosted_chat: LangChainChat, standin: StandIn) -> None:
    standin.plan(Plan(reasoning=("Let me", " think."), text="So be it."))
    deltas = await deltas_of(hosted_chat, ask("why", model=hosted.named()))
    assert (reasoning_of(deltas), text_of(deltas)) == ("Let me think.", "So be it.")
    assert isinstance(deltas[0], ReasoningPiece)


async def test_a_call_of_a_tool_that_nobody_offered_is_no_text(
    hosted: Hosted, hosted_chat: LangChainChat, standin: StandIn
) -> None:
    standin.plan(Plan(tool_call=True, text="I would look it up."))
    deltas = await deltas_of(hosted_chat, ask("where", model=hosted.named()))
    assert (text_of(deltas), reasoning_of(deltas)) == ("I would look it up.", "")
    assert deltas[-1] == Finished(FinishReason.STOP)


async def test_half_a_character_waits_for_its_other_half(
    hosted: Hosted, hosted_chat: LangChainChat, standin: StandIn
) -> None:
    for pieces, text in (
        (("a\ud83d", "\ude00b"), f"a{FACE}b"),
        (("a\ud83d", "b"), "a\ufffdb"),
        (("a\ud83d",), "a\ufffd"),
        ((FACE, " and ", "\u00fc"), f"{FACE} and \u00fc"),
    ):
        standin.plan(Plan(pieces=pieces, reasoning=("\ud83d", "\ude00")))
        deltas = await deltas_of(hosted_chat, ask("smile", model=hosted.named()))
        assert (text_of(deltas), reasoning_of(deltas)) == (text, FACE)
        for delta in deltas:
            if isinstance(delta, (TextPiece, ReasoningPiece)):
                assert delta.text
                delta.text.encode()


async def test_how_the_bytes_come_makes_no_difference(
    hosted: Hosted, hosted_chat: LangChainChat, standin: StandIn
) -> None:
    plans = [Plan(byte_by_byte=True), Plan(crlf=True), Plan(comments=True)]
    for plan in plans:
        standin.plan(plan)
        deltas = await deltas_of(hosted_chat, ask(f"gr\u00fc\u00dfe {FACE}", model=hosted.named()))
        assert text_of(deltas) == f"You said: gr\u00fc\u00dfe {FACE}"
        assert isinstance(deltas[-1], Finished)


@pytest.mark.platform("T21")
def test_a_first_call_imports_nothing() -> None:
    """T21: all that a call needs was imported when the models were made, in a thread."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.first_calls"], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


async def test_a_delta_of_a_megabyte_arrives(hosted: Hosted, hosted_chat: LangChainChat, standin: StandIn) -> None:
    standin.plan(Plan(pieces=("x" * 1_000_000, "y")))
    assert text_of(await deltas_of(hosted_chat, ask("much", model=hosted.named()))) == "x" * 1_000_000 + "y"


async def test_a_provider_that_counts_nothing_is_not_counted_for(
    hosted: Hosted, hosted_chat: LangChainChat, standin: StandIn
) -> None:
    if hosted.provider not in {"ollama", "aws"}:
        pytest.skip("counts stand where the reason for the end does")
    standin.plan(Plan(usage=False))
    deltas = await deltas_of(hosted_chat, ask("hello", model=hosted.named()))
    assert count_of(deltas) is None
    assert deltas[-1] == Finished(FinishReason.STOP)


async def test_answers_share_a_connection(hosted: Hosted, hosted_chat: LangChainChat, standin: StandIn) -> None:
    for _ in range(3):
        await deltas_of(hosted_chat, ask("hello", model=hosted.named()))
    assert len({id(call.connection) for call in standin.calls}) == 1
    assert standin.open_connections == 1


async def test_calls_share_the_connections_of_the_pool(
    hosted: Hosted, make_hosted_chat: MakeHostedChat, standin: StandIn
) -> None:
    pool = HttpPool(max_connections=2)
    chat = await hosted.chat(standin, pool)
    gates = [asyncio.Event() for _ in range(3)]
    standin.plan(*(Plan(tokens=2, gates={1: gate}) for gate in gates))
    answers = [asyncio.create_task(deltas_of(chat, ask("hello", model=hosted.named()))) for _ in gates]
    await standin.wait_for_calls(2)
    # The third has no connection yet, and nothing but the others' end gives it one.
    for gate in gates:
        gate.set()
    assert [text_of(await answer) for answer in answers] == ["w0 w1"] * 3
    assert len({id(call.connection) for call in standin.calls}) <= 2
    chat.close()
    await pool.close()


async def test_a_connection_that_does_not_end_with_its_answer_is_closed(
    hosted: Hosted, hosted_chat: LangChainChat, standin: StandIn
) -> None:
    standin.plan(Plan(linger=True))
    deltas = await deltas_of(hosted_chat, ask("hello", model=hosted.named()))
    assert deltas[-1] == Finished(FinishReason.STOP)
    await standin.wait_until_closed(standin.calls[0])


async def test_a_long_answer_may_be_longer_than_an_event(
    hosted: Hosted, make_hosted_chat: MakeHostedChat, standin: StandIn
) -> None:
    standin.plan(Plan(tokens=500))
    deltas = await deltas_of(await make_hosted_chat(max_event_bytes=20_000), ask("much", model=hosted.named()))
    assert len(text_of(deltas).split()) == 500


async def test_a_stream_that_is_closed_has_closed_its_connection_and_left_nothing_behind(
    hosted: Hosted, hosted_chat: LangChainChat, standin: StandIn
) -> None:
    before = asyncio.all_tasks()
    with generators_left_behind() as left:
        for sent in (1, 5, 400):
            standin.plan(Plan(tokens=500, fault=Fault.STALL, after=sent))
            stream = hosted_chat.stream(ask("go on", model=hosted.named()))
            await anext(stream)
            await stream.aclose()
            # The stand-in's own tasks end with the connection.
            await standin.wait_until_closed(standin.calls[-1])
        gc.collect()
    await until(lambda: not asyncio.all_tasks() - before)
    assert (standin.open_connections, left) == (0, [])


@contextmanager
def generators_left_behind() -> Iterator[list[object]]:
    """Yield the asynchronous generators that were not brought to their end, which the garbage collector finds."""
    left: list[object] = []
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(finalizer=left.append)
    try:
        yield left
    finally:
        sys.set_asyncgen_hooks(*hooks)
