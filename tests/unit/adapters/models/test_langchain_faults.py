"""Each way in which a provider behind LangChain fails is a typed error, after as many attempts as make sense."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from chatter_grpc.adapters.models.http import HttpPool
from chatter_grpc.adapters.models.langchain.chat import LangChainChat
from chatter_grpc.core.errors import (
    ChatterError,
    ProviderRateLimited,
    ProviderRefused,
    ProviderStreamBroken,
    ProviderTimeout,
    ProviderUnavailable,
)
from tests.support.chats import KEY, Pauses, failure_of
from tests.support.clock import Clock
from tests.support.deltas import ask, deltas_of, text_of
from tests.support.hosted import BREAKS, HOSTED, SECRET, Hosted, MakeHostedChat
from tests.support.openai_plans import Fault, Plan
from tests.support.standin import StandIn

pytestmark = pytest.mark.platform("T10")


async def test_a_refused_request_is_not_repeated(
    hosted: Hosted, hosted_chat: LangChainChat, standin: StandIn, pauses: Pauses
) -> None:
    for status in (400, 403, 404, 413, 307):
        standin.clear()
        standin.plan(Plan(status=status), Plan())
        error, _ = await failure_of(hosted_chat, ask("hello", model=hosted.named()), provider=hosted.provider)
        assert isinstance(error, ProviderRefused)
        assert error.metadata["status"] == str(status)
        assert (len(standin.calls), pauses.seconds) == (1, [])


async def test_a_wrong_key_is_refused(hosted: Hosted, make_hosted_chat: MakeHostedChat, standin: StandIn) -> None:
    standin.api_key = "another-key"
    error, _ = await failure_of(await make_hosted_chat(), ask("hello", model=hosted.named()), provider=hosted.provider)
    assert isinstance(error, ProviderRefused)
    assert (error.metadata["status"], standin.calls) == ("401", [])
    assert standin.refused == ["the key is wrong"]
    standin.clear()


async def test_a_status_that_passes_is_passed(
    hosted: Hosted, hosted_chat: LangChainChat, standin: StandIn, pauses: Pauses
) -> None:
    for status in (408, 429, 500, 503, 529):
        standin.clear()
        pauses.seconds.clear()
        standin.plan(Plan(status=status), Plan(status=status), Plan(text="There you are."))
        assert text_of(await deltas_of(hosted_chat, ask("hello", model=hosted.named()))) == "There you are."
        # Nobody but us repeats a call, and without our pauses.
        assert (len(standin.calls), len(pauses.seconds)) == (3, 2)


async def test_a_provider_that_keeps_failing_is_unavailable(
    hosted: Hosted, hosted_chat: LangChainChat, standin: StandIn
) -> None:
    standin.plan(*[Plan(status=503)] * 3, Plan())
    error, deltas = await failure_of(hosted_chat, ask("hello", model=hosted.named()), provider=hosted.provider)
    assert isinstance(error, ProviderUnavailable)
    assert (error.metadata["status"], len(standin.calls), deltas) == ("503", 3, [])


async def test_a_rate_limit_is_waited_for_as_long_as_asked_and_told_where_it_stays(
    hosted: Hosted, hosted_chat: LangChainChat, standin: StandIn, pauses: Pauses
) -> None:
    standin.plan(*[Plan(status=429, retry_after="4")] * 3, Plan())
    error, _ = await failure_of(hosted_chat, ask("hello", model=hosted.named()), provider=hosted.provider)
    assert isinstance(error, ProviderRateLimited)
    assert error.retry_after == 4.0
    assert [int(seconds) for seconds in pauses.seconds] == [4, 4]


async def test_a_pause_that_google_asks_for_in_the_body_is_waited_for(pool: HttpPool, pauses: Pauses) -> None:
    hosted = HOSTED["google"]
    async with hosted.standin(api_key=KEY) as standin:
        chat = await hosted.chat(standin, pool, pauses=pauses)
        standin.plan(*[Plan(status=429)] * 3)
        error, _ = await failure_of(chat, ask("hello", model=hosted.named()), provider="google")
    assert error.retry_after == 3.5
    assert (len(pauses.seconds), min(pauses.seconds) >= 3.5) == (2, True)


async def test_an_answer_that_mistral_gives_up_is_a_broken_stream(pool: HttpPool) -> None:
    hosted = HOSTED["mistral"]
    async with hosted.standin(api_key=KEY) as standin:
        chat = await hosted.chat(standin, pool)
        standin.plan(Plan(tokens=2, finish_reason="error"))
        error, deltas = await failure_of(chat, ask("hello", model=hosted.named()), provider="mistral")
    assert isinstance(error, ProviderStreamBroken)
    assert text_of(deltas) == "w0 w1"


async def test_too_long_a_pause_is_told_instead_of_waited(
    hosted: Hosted, hosted_chat: LangChainChat, standin: StandIn, pauses: Pauses
) -> None:
    standin.plan(Plan(status=429, retry_after="60"), Plan())
    error, _ = await failure_of(hosted_chat, ask("hello", model=hosted.named()), provider=hosted.provider)
    assert (error.retry_after, len(standin.calls), pauses.seconds) == (60.0, 1, [])


async def test_a_port_where_nobody_listens_is_unavailable(
    hosted: Hosted, make_hosted_chat: MakeHostedChat, pauses: Pauses
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        chat = await make_hosted_chat(base_url=f"http://127.0.0.1:{taken.getsockname()[1]}")
        error, _ = await failure_of(chat, ask("hello", model=hosted.named()), provider=hosted.provider)
    assert isinstance(error, ProviderUnavailable)
    assert (error.metadata["status"], len(pauses.seconds)) == ("none", 2)


async def test_a_first_token_that_does_not_come_in_time_is_given_up(
    hosted: Hosted, make_hosted_chat: MakeHostedChat, standin: StandIn, pauses: Pauses
) -> None:
    chat, clock = await make_hosted_chat(first_token_seconds=100), Clock()
    faults = [Plan(mute=True), Plan(tokens=3, fault=Fault.STALL)]
    if hosted.keeps_alive:
        faults.append(Plan(tokens=3, fault=Fault.CHATTER))
    for number, plan in enumerate(faults):
        standin.plan(plan)
        reading = asyncio.create_task(deltas_of(chat, ask("hello", model=hosted.named())))
        await standin.wait_for_calls(number + 1)
        error = await _timed_out(reading, clock)
        assert (error.metadata["phase"], pauses.seconds) == ("first_token", [])
        await standin.wait_until_closed(standin.calls[number])


async def test_a_stall_ends_as_idle_and_what_keeps_a_connection_alive_is_no_life(
    hosted: Hosted, make_hosted_chat: MakeHostedChat, standin: StandIn
) -> None:
    chat, clock = await make_hosted_chat(idle_seconds=100), Clock()
    for number, fault in enumerate([Fault.STALL, Fault.CHATTER] if hosted.keeps_alive else [Fault.STALL]):
        standin.plan(Plan(tokens=10, fault=fault, after=4))
        stream, text = chat.stream(ask("hello", model=hosted.named())), ""
        while text != "w0 w1 w2 w3":
            text += text_of(await anext(stream))
        error = await _timed_out(asyncio.create_task(_read_to_end(stream)), clock)
        assert error.metadata["phase"] == "idle"
        await standin.wait_until_closed(standin.calls[number])
    assert len(standin.calls) == number + 1


async def test_a_reader_that_takes_its_time_is_no_stall(
    hosted: Hosted, make_hosted_chat: MakeHostedChat, standin: StandIn
) -> None:
    chat = await make_hosted_chat(idle_seconds=100)
    clock, gate, text = Clock(), asyncio.Event(), ""
    standin.plan(Plan(tokens=4, gates={2: gate}))
    async for batch in chat.stream(ask("hello", model=hosted.named())):
        text += text_of(batch)
        await clock.advance(1000)
        gate.set()
    assert text == "w0 w1 w2 w3"


async def test_a_stream_that_breaks_in_mid_answer_is_never_begun_again(
    hosted: Hosted, hosted_chat: LangChainChat, standin: StandIn
) -> None:
    for fault in BREAKS:
        standin.clear()
        gate = asyncio.Event()
        standin.plan(Plan(tokens=10, gates={4: gate}, fault=fault, after=4), Plan())
        stream, text = hosted_chat.stream(ask("hello", model=hosted.named())), ""
        # What is not read when a connection is lost is lost with it.
        while text != "w0 w1 w2 w3":
            text += text_of(await anext(stream))
        gate.set()
        with pytest.raises(ProviderStreamBroken):
            await _read_to_end(stream)
        assert len(standin.calls) == 1, fault


async def test_a_stream_that_breaks_before_the_first_token_is_begun_again(
    hosted: Hosted, hosted_chat: LangChainChat, standin: StandIn, pauses: Pauses
) -> None:
    for fault in (Fault.CUT, Fault.END, Fault.ERROR, Fault.UNFRAMED):
        pauses.seconds.clear()
        standin.plan(Plan(tokens=10, fault=fault), Plan(text="Again."))
        assert text_of(await deltas_of(hosted_chat, ask("hello", model=hosted.named()))) == "Again."
        assert len(pauses.seconds) == 1, fault


async def test_garbage_before_the_first_token_is_not_asked_for_again(
    hosted: Hosted, hosted_chat: LangChainChat, standin: StandIn, pauses: Pauses
) -> None:
    standin.plan(Plan(fault=Fault.GARBAGE), Plan())
    error, _ = await failure_of(hosted_chat, ask("hello", model=hosted.named()), provider=hosted.provider)
    assert isinstance(error, ProviderStreamBroken)
    assert (len(standin.calls), pauses.seconds) == (1, [])


async def test_an_end_without_a_finish_reason_is_a_broken_stream(
    hosted: Hosted, hosted_chat: LangChainChat, standin: StandIn
) -> None:
    standin.plan(Plan(tokens=2, finish_reason=None))
    error, deltas = await failure_of(hosted_chat, ask("hello", model=hosted.named()), provider=hosted.provider)
    assert isinstance(error, ProviderStreamBroken)
    assert text_of(deltas) == "w0 w1"


async def test_an_event_above_the_bound_breaks_the_stream(
    hosted: Hosted, make_hosted_chat: MakeHostedChat, standin: StandIn
) -> None:
    standin.plan(Plan(pieces=("small", "x" * 200_000)))
    chat = await make_hosted_chat(max_event_bytes=100_000)
    error, deltas = await failure_of(chat, ask("hello", model=hosted.named()), provider=hosted.provider)
    assert isinstance(error, ProviderStreamBroken)
    assert text_of(deltas) == "small"


async def test_closing_the_pool_ends_calls_as_broken_and_lets_none_begin(
    hosted: Hosted, hosted_chat: LangChainChat, pool: HttpPool, standin: StandIn
) -> None:
    standin.plan(Plan(tokens=5, fault=Fault.STALL, after=2))
    stream = hosted_chat.stream(ask("hello", model=hosted.named()))
    await anext(stream)
    await pool.close()
    with pytest.raises(ProviderStreamBroken):
        await _read_to_end(stream)
    with pytest.raises(ProviderUnavailable):
        await deltas_of(hosted_chat, ask("hello", model=hosted.named()))
    assert len(standin.calls) == 1


async def test_giving_up_while_a_provider_is_mute_closes_the_connection(
    hosted: Hosted, hosted_chat: LangChainChat, standin: StandIn
) -> None:
    standin.plan(Plan(mute=True))
    reading = asyncio.create_task(deltas_of(hosted_chat, ask("hello", model=hosted.named())))
    await standin.wait_for_calls(1)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await standin.wait_until_closed(standin.calls[0])
    assert standin.open_connections == 0


@pytest.mark.platform("T7")
async def test_no_key_and_no_text_reaches_a_log_or_an_error(
    hosted: Hosted, hosted_chat: LangChainChat, standin: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="chatter_grpc")
    caplog.set_level(logging.WARNING)
    plans = [
        Plan(status=401, error_code=KEY),
        Plan(status=429, error_code="my planted prompt"),
        Plan(status=500),
        *(Plan(text="planted answer", fault=fault, after=1) for fault in (Fault.CUT, Fault.GARBAGE, Fault.ERROR)),
        Plan(text="planted answer", finish_reason="planted answer"),
        Plan(text="planted answer", finish_reason=None),
        Plan(text="planted answer", tool_call=True),
    ]
    said = ""
    for plan in plans:
        standin.clear()
        standin.plan(plan, plan, plan)
        try:
            await deltas_of(hosted_chat, ask("my planted prompt", model=hosted.named()))
        except ChatterError as error:
            causes = [error, error.__cause__, error.__context__]
            said += "".join(f"{cause} {cause!r} {getattr(cause, '__dict__', '')}" for cause in causes)
    assert "provider" in said
    for secret in (KEY, SECRET, "my planted prompt", "planted answer"):
        assert secret not in caplog.text
        assert secret not in said


async def _read_to_end(stream: AsyncIterator[object]) -> None:
    async for _ in stream:
        pass


async def _timed_out(reading: "asyncio.Task[Any]", clock: Clock) -> ProviderTimeout:
    """Let time pass until a reader has given up, and return how it did."""
    while not reading.done():
        await clock.advance(101)
        # Threads, and the stand-in, have time of their own.
        await asyncio.sleep(0.01)
    error = reading.exception()
    assert isinstance(error, ProviderTimeout)
    return error
