"""Each way in which a provider fails is a typed error, after as many attempts as make sense."""

import asyncio
import logging
import socket

import pytest

from chatter_grpc.adapters.models.http import HttpPool
from chatter_grpc.adapters.models.openai import OpenAIChat
from chatter_grpc.core.errors import (
    ChatterError,
    ProviderRateLimited,
    ProviderRefused,
    ProviderStreamBroken,
    ProviderTimeout,
    ProviderUnavailable,
)
from tests.support.chats import KEY, MakeChat, Pauses, failure_of, raw_server
from tests.support.clock import Clock
from tests.support.deltas import ask, deltas_of, text_of
from tests.support.openai_plans import Fault, Plan
from tests.support.openai_standin import OpenAIStandIn

pytestmark = pytest.mark.platform("T10")


@pytest.mark.parametrize("status", [400, 403, 404, 413, 422, 307])
async def test_a_refused_request_is_not_repeated(
    chat: OpenAIChat, provider: OpenAIStandIn, pauses: Pauses, status: int
) -> None:
    provider.plan(Plan(status=status), Plan())
    error, _ = await failure_of(chat, ask("hello"))
    assert isinstance(error, ProviderRefused)
    assert error.metadata["status"] == str(status)
    assert (len(provider.calls), pauses.seconds) == (1, [])


async def test_a_wrong_key_is_refused(make_chat: MakeChat, provider: OpenAIStandIn) -> None:
    error, _ = await failure_of(make_chat(api_key="sk-another"), ask("hello"))
    assert isinstance(error, ProviderRefused)
    assert error.metadata["status"] == "401"
    assert provider.calls == []


async def test_an_endpoint_without_a_key_gets_none(make_chat: MakeChat, provider: OpenAIStandIn) -> None:
    error, _ = await failure_of(make_chat(api_key=""), ask("hello"))
    assert error.metadata["status"] == "401"


async def test_a_model_that_the_provider_does_not_know_is_refused(chat: OpenAIChat) -> None:
    error, _ = await failure_of(chat, ask("hello", model="stand-in/unknown"))
    assert isinstance(error, ProviderRefused)
    assert error.metadata["status"] == "404"


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 529])
async def test_a_status_that_passes_is_passed(
    chat: OpenAIChat, provider: OpenAIStandIn, pauses: Pauses, status: int
) -> None:
    provider.plan(Plan(status=status), Plan(status=status), Plan(text="There you are."))
    assert text_of(await deltas_of(chat, ask("hello"))) == "There you are."
    assert (len(provider.calls), len(pauses.seconds)) == (3, 2)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_provider_that_keeps_failing_is_unavailable(
    chat: OpenAIChat, provider: OpenAIStandIn, status: int
) -> None:
    provider.plan(*[Plan(status=status)] * 3, Plan())
    error, deltas = await failure_of(chat, ask("hello"))
    assert isinstance(error, ProviderUnavailable)
    assert error.metadata["status"] == str(status)
    assert (len(provider.calls), deltas) == (3, [])


async def test_a_status_that_is_no_passing_fault_is_not_repeated(chat: OpenAIChat, provider: OpenAIStandIn) -> None:
    provider.plan(Plan(status=501), Plan())
    error, _ = await failure_of(chat, ask("hello"))
    assert isinstance(error, ProviderUnavailable)
    assert len(provider.calls) == 1


async def test_a_rate_limit_is_waited_for_as_long_as_asked(
    chat: OpenAIChat, provider: OpenAIStandIn, pauses: Pauses
) -> None:
    provider.plan(Plan(status=429, retry_after="2"), Plan(status=503, retry_after="3"), Plan(text="Now."))
    assert text_of(await deltas_of(chat, ask("hello"))) == "Now."
    assert [int(seconds) for seconds in pauses.seconds] == [2, 3]


async def test_a_rate_limit_that_stays_is_told_with_its_pause(chat: OpenAIChat, provider: OpenAIStandIn) -> None:
    provider.plan(*[Plan(status=429, retry_after="4")] * 3, Plan())
    error, _ = await failure_of(chat, ask("hello"))
    assert isinstance(error, ProviderRateLimited)
    assert error.retry_after == 4.0
    assert len(provider.calls) == 3


async def test_too_long_a_pause_is_told_instead_of_waited(
    make_chat: MakeChat, provider: OpenAIStandIn, pauses: Pauses
) -> None:
    provider.plan(Plan(status=429, retry_after="60"), Plan())
    error, _ = await failure_of(make_chat(retry_after_max_seconds=5.0), ask("hello"))
    assert isinstance(error, ProviderRateLimited)
    assert error.retry_after == 60.0
    assert (len(provider.calls), pauses.seconds) == (1, [])


async def test_a_quota_that_is_used_up_is_not_asked_for_again(chat: OpenAIChat, provider: OpenAIStandIn) -> None:
    provider.plan(Plan(status=429, error_code="insufficient_quota"), Plan())
    error, _ = await failure_of(chat, ask("hello"))
    assert isinstance(error, ProviderRateLimited)
    assert len(provider.calls) == 1


async def test_the_number_of_attempts_is_a_setting(make_chat: MakeChat, provider: OpenAIStandIn) -> None:
    provider.plan(Plan(status=500), Plan())
    await failure_of(make_chat(max_attempts=1), ask("hello"))
    assert len(provider.calls) == 1


async def test_a_port_where_nobody_listens_is_unavailable(make_chat: MakeChat, pauses: Pauses) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        chat = make_chat(base_url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
        error, _ = await failure_of(chat, ask("hello"))
    assert isinstance(error, ProviderUnavailable)
    assert error.metadata["status"] == "none"
    assert len(pauses.seconds) == 2


async def test_a_host_that_has_no_address_is_unavailable(
    make_chat: MakeChat, pauses: Pauses, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "no such host")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fail)
    error, _ = await failure_of(make_chat(base_url="http://provider.invalid/v1"), ask("hello"))
    assert isinstance(error, ProviderUnavailable)
    assert len(pauses.seconds) == 2


async def test_a_server_that_speaks_no_tls_is_unavailable(make_chat: MakeChat, provider: OpenAIStandIn) -> None:
    chat = make_chat(base_url=provider.base_url.replace("http:", "https:"))
    error, _ = await failure_of(chat, ask("hello"))
    assert isinstance(error, ProviderUnavailable)


async def test_a_server_that_speaks_no_http_is_unavailable(make_chat: MakeChat) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n\r\n")
        await writer.drain()

    async with raw_server(serve) as base_url:
        error, _ = await failure_of(make_chat(base_url=base_url), ask("hello"))
    assert isinstance(error, ProviderUnavailable)


async def test_a_connection_that_closes_before_the_answer_is_made_again(make_chat: MakeChat, pauses: Pauses) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        return

    async with raw_server(serve) as base_url:
        error, _ = await failure_of(make_chat(base_url=base_url), ask("hello"))
    assert isinstance(error, ProviderUnavailable)
    assert len(pauses.seconds) == 2


async def test_a_full_pool_is_waited_for_no_longer_than_a_connection(
    make_chat: MakeChat, provider: OpenAIStandIn, pauses: Pauses
) -> None:
    few = HttpPool(max_connections=1)
    endpoint = make_chat(connect_seconds=0.05)._endpoint
    chat = OpenAIChat(endpoint, few, sleep=pauses)
    provider.plan(Plan(tokens=3, fault=Fault.STALL, after=1))
    first = chat.stream(ask("first"))
    await anext(first)
    error, _ = await failure_of(chat, ask("second"))
    assert isinstance(error, ProviderTimeout)
    assert error.metadata["phase"] == "connect"
    assert len(pauses.seconds) == 2
    await first.aclose()
    assert text_of(await deltas_of(chat, ask("third"))) == "You said: third"
    await few.close()


async def test_a_provider_that_never_answers_is_given_up(
    make_chat: MakeChat, provider: OpenAIStandIn, pauses: Pauses
) -> None:
    provider.plan(Plan(mute=True))
    error, _ = await failure_of(make_chat(first_token_seconds=0.1), ask("hello"))
    assert isinstance(error, ProviderTimeout)
    assert error.metadata["phase"] == "first_token"
    assert (len(provider.calls), pauses.seconds) == (1, [])
    await provider.wait_until_closed(provider.calls[0])


@pytest.mark.parametrize("fault", [Fault.STALL, Fault.CHATTER])
async def test_headers_and_comments_are_no_first_token(
    make_chat: MakeChat, provider: OpenAIStandIn, fault: Fault
) -> None:
    provider.plan(Plan(tokens=3, fault=fault))
    error, deltas = await failure_of(make_chat(first_token_seconds=0.1), ask("hello"))
    assert isinstance(error, ProviderTimeout)
    assert (error.metadata["phase"], deltas) == ("first_token", [])
    await provider.wait_until_closed(provider.calls[0])


@pytest.mark.parametrize("fault", [Fault.STALL, Fault.CHATTER])
async def test_a_stall_ends_as_idle_and_comments_are_no_life(
    make_chat: MakeChat, provider: OpenAIStandIn, fault: Fault
) -> None:
    provider.plan(Plan(tokens=10, fault=fault, after=4))
    error, deltas = await failure_of(make_chat(idle_seconds=0.1), ask("hello"))
    assert isinstance(error, ProviderTimeout)
    assert error.metadata["phase"] == "idle"
    assert text_of(deltas) == "w0 w1 w2 w3"
    assert len(provider.calls) == 1
    await provider.wait_until_closed(provider.calls[0])


async def test_an_answer_may_take_longer_than_the_idle_time(make_chat: MakeChat, provider: OpenAIStandIn) -> None:
    clock = Clock()
    gates = {number: asyncio.Event() for number in range(1, 5)}
    provider.plan(Plan(tokens=5, gates=gates))
    stream = make_chat(idle_seconds=100).stream(ask("hello"))
    text = text_of(await anext(stream))
    for gate in gates.values():
        reading = asyncio.ensure_future(anext(stream))
        await clock.advance(90)
        gate.set()
        text += text_of(await reading)
    assert text == "w0 w1 w2 w3 w4"
    await stream.aclose()


async def test_a_reader_that_takes_its_time_is_no_stall(make_chat: MakeChat, provider: OpenAIStandIn) -> None:
    clock = Clock()
    gate = asyncio.Event()
    provider.plan(Plan(tokens=4, gates={2: gate}))
    text = ""
    async for batch in make_chat(idle_seconds=100).stream(ask("hello")):
        text += text_of(batch)
        await clock.advance(1000)
        gate.set()
    assert text == "w0 w1 w2 w3"


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.END, Fault.GARBAGE, Fault.ERROR, Fault.UNFRAMED])
async def test_a_stream_that_breaks_in_mid_answer_is_never_begun_again(
    chat: OpenAIChat, provider: OpenAIStandIn, fault: Fault
) -> None:
    provider.plan(Plan(tokens=10, fault=fault, after=4), Plan())
    error, deltas = await failure_of(chat, ask("hello"))
    assert isinstance(error, ProviderStreamBroken)
    assert text_of(deltas) == "w0 w1 w2 w3"
    assert len(provider.calls) == 1


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.END, Fault.ERROR, Fault.UNFRAMED])
async def test_a_stream_that_breaks_before_the_first_token_is_begun_again(
    chat: OpenAIChat, provider: OpenAIStandIn, pauses: Pauses, fault: Fault
) -> None:
    provider.plan(Plan(tokens=10, fault=fault), Plan(text="Again."))
    assert text_of(await deltas_of(chat, ask("hello"))) == "Again."
    assert len(pauses.seconds) == 1


async def test_a_stream_that_always_breaks_before_the_first_token_is_broken(
    chat: OpenAIChat, provider: OpenAIStandIn
) -> None:
    provider.plan(*[Plan(fault=Fault.CUT)] * 3, Plan())
    error, _ = await failure_of(chat, ask("hello"))
    assert isinstance(error, ProviderStreamBroken)
    assert len(provider.calls) == 3


async def test_garbage_before_the_first_token_is_not_asked_for_again(chat: OpenAIChat, provider: OpenAIStandIn) -> None:
    provider.plan(Plan(fault=Fault.GARBAGE), Plan())
    error, _ = await failure_of(chat, ask("hello"))
    assert isinstance(error, ProviderStreamBroken)
    assert len(provider.calls) == 1


async def test_an_end_without_a_finish_reason_is_a_broken_stream(chat: OpenAIChat, provider: OpenAIStandIn) -> None:
    provider.plan(Plan(tokens=2, finish_reason=None))
    error, deltas = await failure_of(chat, ask("hello"))
    assert isinstance(error, ProviderStreamBroken)
    assert text_of(deltas) == "w0 w1"


async def test_an_event_above_the_bound_breaks_the_stream(make_chat: MakeChat, provider: OpenAIStandIn) -> None:
    provider.plan(Plan(pieces=("small", "x" * 200_000)))
    error, deltas = await failure_of(make_chat(max_event_bytes=100_000), ask("hello"))
    assert isinstance(error, ProviderStreamBroken)
    assert text_of(deltas) == "small"


async def test_closing_the_pool_ends_calls_as_broken_and_lets_none_begin(
    chat: OpenAIChat, pool: HttpPool, provider: OpenAIStandIn
) -> None:
    provider.plan(Plan(tokens=5, fault=Fault.STALL, after=2))
    stream = chat.stream(ask("hello"))
    await anext(stream)
    await pool.close()
    with pytest.raises(ProviderStreamBroken):
        await anext(stream)
    with pytest.raises(ProviderUnavailable):
        await deltas_of(chat, ask("hello"))
    assert len(provider.calls) == 1


@pytest.mark.platform("T7")
@pytest.mark.parametrize(
    "plan",
    [
        Plan(status=401, error_code=KEY),
        Plan(status=429, error_code="my planted prompt"),
        Plan(status=500),
        Plan(text="planted answer", fault=Fault.CUT, after=1),
        Plan(text="planted answer", fault=Fault.GARBAGE, after=1),
        Plan(text="planted answer", finish_reason="planted answer"),
    ],
)
async def test_no_key_and_no_text_reaches_a_log_or_an_error(
    chat: OpenAIChat, provider: OpenAIStandIn, caplog: pytest.LogCaptureFixture, plan: Plan
) -> None:
    caplog.set_level(logging.DEBUG)
    provider.plan(plan, plan, plan)
    said = ""
    try:
        await deltas_of(chat, ask("my planted prompt"))
    except ChatterError as error:
        causes = [error, error.__cause__, error.__context__]
        said = "".join(f"{cause} {cause!r} {getattr(cause, '__dict__', '')}" for cause in causes)
    for secret in (KEY, "my planted prompt", "planted answer"):
        assert secret not in caplog.text
        assert secret not in said
