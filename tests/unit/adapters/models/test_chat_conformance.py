"""What the port ``ChatModel`` promises, on each of its adapters."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from chatter_grpc.adapters.models.http import HttpPool
from chatter_grpc.adapters.models.offline import OfflineChat
from chatter_grpc.adapters.models.openai import OpenAIChat
from chatter_grpc.adapters.models.scripted import CallState, Gate, ScriptedChat, answer_script
from chatter_grpc.core.errors import (
    ProviderRateLimited,
    ProviderRefused,
    ProviderStreamBroken,
    ProviderTimeout,
    ProviderUnavailable,
)
from chatter_grpc.core.models import (
    ChatModel,
    Finished,
    FinishReason,
    ModelDelta,
    ModelRequest,
    ReasoningPiece,
    TextPiece,
    TokenCount,
)
from tests.support.chats import KEY, MakeChat
from tests.support.deltas import ask, batches_of, conversation, count_of, deltas_of, text_of
from tests.support.hosted import HOSTED, Hosted
from tests.support.openai_plans import Fault, Plan
from tests.support.openai_standin import OpenAIStandIn
from tests.support.standin import StandIn

PROVIDER_ERRORS = (
    ProviderUnavailable,
    ProviderRateLimited,
    ProviderRefused,
    ProviderTimeout,
    ProviderStreamBroken,
)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """An adapter with what the suite needs to know of it."""

    chat: ChatModel
    request: ModelRequest
    """Is answered by ``answer``."""
    answer: str
    unending: tuple[ChatModel, ModelRequest]
    """A call that says something and then nothing more."""
    closed: Callable[[], Awaitable[None]]
    """Returns once the provider's side of the unending call has seen that it was closed."""
    failing: tuple[tuple[ChatModel, ModelRequest], ...] = ()
    """Calls that fail; none where the adapter has nothing that could fail."""
    prepare: Callable[[int], None] = lambda number: None
    """Is told the number of a failing call before it is made."""
    honours_max_tokens: bool = True


@pytest.fixture(params=["openai", "offline", "scripted", *HOSTED])
async def subject(
    request: pytest.FixtureRequest, provider: OpenAIStandIn, make_chat: MakeChat, pool: HttpPool
) -> AsyncIterator[Subject]:
    if request.param in HOSTED:
        hosted = HOSTED[request.param]
        async with hosted.standin(api_key=KEY) as standin:
            made = await hosted_subject(hosted, standin, pool)
            yield made
            made.chat.close()  # type: ignore[attr-defined]
    elif request.param == "openai":
        yield openai_subject(provider, make_chat)
    elif request.param == "scripted":
        yield scripted_subject()
    else:
        offline = OfflineChat(seconds_per_token=0)
        slow = OfflineChat(seconds_per_token=3600)
        yield offline_subject(offline, slow)
        offline.close()
        slow.close()


def openai_subject(provider: OpenAIStandIn, make_chat: MakeChat) -> Subject:
    chat: OpenAIChat = make_chat(idle_seconds=0.1, first_token_seconds=30)

    async def closed() -> None:
        await provider.wait_until_closed(provider.calls[-1])

    faults = (
        *(f"gpt?status={status}" for status in (400, 401, 403, 404, 429, 500, 503)),
        *(f"gpt?tokens=9&after={after}&fault={fault}" for after in (0, 4) for fault in ("cut", "garbage", "error")),
        "gpt?tokens=9&after=4&fault=stall",
    )
    return Subject(
        chat=chat,
        request=ask("hello there", model="stand-in/gpt?reasoning=Hm."),
        answer="You said: hello there",
        unending=(make_chat(), ask("go on", model="stand-in/gpt?tokens=9&after=2&fault=stall")),
        closed=closed,
        failing=tuple((chat, ask("hello", model=f"stand-in/{name}")) for name in faults),
    )


async def hosted_subject(hosted: Hosted, standin: StandIn, pool: HttpPool) -> Subject:
    async def closed() -> None:
        await standin.wait_until_closed(standin.calls[-1])

    answered, unending = "reasoning=Hm.", "tokens=9&after=2&fault=stall"
    faults = (
        *(f"status={status}" for status in (400, 401, 403, 404, 429, 500, 503, 529)),
        *(f"tokens=9&after={after}&fault={fault}" for after in (0, 4) for fault in ("cut", "garbage", "error")),
        "tokens=9&after=4&fault=stall",
    )

    def prepare(number: int) -> None:
        standin.clear()
        # One for each attempt.
        standin.plan(*[Plan.named(f"?{faults[number]}")] * 3)

    chat = await hosted.chat(standin, pool, plans=(answered,), idle_seconds=0.1, first_token_seconds=30)
    patient = await hosted.chat(standin, pool, plans=(unending,))
    return Subject(
        chat=chat,
        request=ask("hello there", model=hosted.named(answered)),
        answer="You said: hello there",
        unending=(patient, ask("go on", model=hosted.named(unending))),
        closed=closed,
        failing=((chat, ask("hello", model=hosted.named(answered))),) * len(faults),
        prepare=prepare,
    )


def scripted_subject() -> Subject:
    unending = ScriptedChat((*answer_script("one two")[:2], Gate(asyncio.Event()), Finished(FinishReason.STOP)))

    async def closed() -> None:
        assert unending.calls[-1].state is CallState.CLOSED

    errors = (
        ProviderUnavailable(provider="scripted"),
        ProviderRateLimited(provider="scripted"),
        ProviderRefused(provider="scripted", status=401),
        ProviderTimeout(provider="scripted", phase="idle"),
        ProviderStreamBroken(provider="scripted"),
    )
    return Subject(
        chat=ScriptedChat((ReasoningPiece("Hm."), *answer_script("hello there to you"))),
        request=ask("hello", model="scripted/any"),
        answer="hello there to you",
        unending=(unending, ask("go on")),
        closed=closed,
        failing=tuple((ScriptedChat((TextPiece("so"), error)), ask("hello")) for error in errors),
        honours_max_tokens=False,
    )


def offline_subject(offline: OfflineChat, slow: OfflineChat) -> Subject:
    request = conversation("The cat sat on the mat.", "I see.", "Where did the cat sit?", model="chatter/offline")

    async def closed() -> None:
        """It holds nothing that could stay open."""

    return Subject(
        chat=offline,
        request=request,
        answer="No language model is configured, so this is quoted, not written:\n\n"
        "\u201cThe cat sat on the mat.\u201d (your message, 1 back)",
        unending=(slow, request),
        closed=closed,
    )


async def test_the_pieces_make_up_the_answer(subject: Subject) -> None:
    assert text_of(await deltas_of(subject.chat, subject.request)) == subject.answer


async def test_no_batch_is_empty(subject: Subject) -> None:
    assert all(await batches_of(subject.chat, subject.request))


async def test_no_piece_is_empty_or_holds_half_a_character(subject: Subject) -> None:
    for delta in await deltas_of(subject.chat, subject.request):
        if isinstance(delta, (TextPiece, ReasoningPiece)):
            assert delta.text
            delta.text.encode()


async def test_exactly_one_end_comes_after_all_text(subject: Subject) -> None:
    kinds = [type(delta) for delta in await deltas_of(subject.chat, subject.request)]
    assert kinds.count(Finished) == 1
    assert TextPiece in kinds
    assert {TextPiece, ReasoningPiece}.isdisjoint(kinds[kinds.index(Finished) :])


async def test_tokens_are_counted(subject: Subject) -> None:
    deltas = await deltas_of(subject.chat, subject.request)
    count = count_of(deltas)
    assert count is not None
    assert count.input_tokens > 0
    assert count.output_tokens == sum(isinstance(delta, TextPiece) for delta in deltas)


async def test_an_answer_ends_at_its_limit_of_tokens(subject: Subject) -> None:
    if not subject.honours_max_tokens:
        pytest.skip("the adapter says what it is told to")
    request = ModelRequest(model=subject.request.model, turns=subject.request.turns, max_tokens=2)
    deltas = await deltas_of(subject.chat, request)
    assert sum(isinstance(delta, TextPiece) for delta in deltas) == 2
    assert subject.answer.startswith(text_of(deltas))
    assert deltas[-1] == Finished(FinishReason.LENGTH)
    assert count_of(deltas) == TokenCount(count_of(deltas).input_tokens, 2)  # type: ignore[union-attr]


async def test_calls_at_the_same_time_do_not_mix(subject: Subject) -> None:
    answers = await asyncio.gather(*(deltas_of(subject.chat, subject.request) for _ in range(5)))
    assert [text_of(deltas) for deltas in answers] == [subject.answer] * 5


async def test_closing_the_stream_closes_the_call(subject: Subject) -> None:
    chat, request = subject.unending
    stream = chat.stream(request)
    assert await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]
    await subject.closed()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_cancelling_the_reader_closes_the_call(subject: Subject) -> None:
    chat, request = subject.unending
    begun = asyncio.Event()

    async def read() -> None:
        async for _ in chat.stream(request):
            begun.set()

    reader = asyncio.create_task(read())
    await asyncio.wait_for(begun.wait(), 10)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    await subject.closed()


async def test_a_stream_that_is_closed_before_it_is_read_makes_no_call(subject: Subject) -> None:
    stream = subject.chat.stream(subject.request)
    await stream.aclose()  # type: ignore[attr-defined]
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


@pytest.mark.platform("T10")
async def test_failures_are_of_the_ports_types_and_come_without_an_end(subject: Subject) -> None:
    said: list[ModelDelta] = []

    async def read(chat: ChatModel, request: ModelRequest) -> None:
        async for batch in chat.stream(request):
            said.extend(batch)

    for number, (chat, request) in enumerate(subject.failing):
        subject.prepare(number)
        with pytest.raises(PROVIDER_ERRORS):
            await read(chat, request)
    assert not any(isinstance(delta, Finished) for delta in said)


async def test_a_call_that_is_closed_leaves_the_next_one_alone(provider: OpenAIStandIn, make_chat: MakeChat) -> None:
    chat = make_chat()
    provider.plan(Plan(tokens=9, after=2, fault=Fault.STALL), Plan(text="Next."))
    stream = chat.stream(ask("first"))
    await anext(stream)
    await stream.aclose()
    assert text_of(await deltas_of(chat, ask("second"))) == "Next."
    assert provider.calls[0].connection is not provider.calls[1].connection
    assert len(provider.calls[0].sent) == 2
