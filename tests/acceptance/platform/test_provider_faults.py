"""Whatever a provider does, the run ends, says why, and leaves nothing half behind (T10)."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest

from chatter_grpc._gen.chatter.v1 import run_pb2
from chatter_grpc._gen.chatter.v1.content_pb2 import ROLE_USER
from chatter_grpc._gen.chatter.v1.error_reason_pb2 import ErrorReason
from tests.acceptance.platform.conftest import KEY
from tests.support.anthropic_standin import AnthropicStandIn
from tests.support.ollama_standin import OllamaStandIn
from tests.support.openai_plans import Fault, Plan
from tests.support.provider import Provider, provider_on_a_thread, until
from tests.support.served import Client, Served, Stream, served, signed_in, written
from tests.support.standin import Call

pytestmark = pytest.mark.platform("T10")

ATTEMPTS: Final = 2
ONCE: Final = 1
REFUSED, UNAVAILABLE, LIMITED = "PROVIDER_REFUSED", "PROVIDER_UNAVAILABLE", "PROVIDER_RATE_LIMITED"
TIMEOUT, BROKEN = "PROVIDER_TIMEOUT", "PROVIDER_STREAM_BROKEN"
# What a provider does, as a model's name says it to the stand-in: the reason, and how often it is asked.
ANY_FAULTS: Final = {
    "status=400": (REFUSED, ONCE),
    "status=401": (REFUSED, ONCE),
    "status=404": (REFUSED, ONCE),
    "status=429&retry_after=0": (LIMITED, ATTEMPTS),
    "status=500": (UNAVAILABLE, ATTEMPTS),
    "status=503&retry_after=0": (UNAVAILABLE, ATTEMPTS),
    "status=529": (UNAVAILABLE, ATTEMPTS),
    "mute=1": (TIMEOUT, ONCE),
    "fault=stall": (TIMEOUT, ONCE),
    "fault=stall&after=2": (TIMEOUT, ONCE),
    "fault=comments&after=2": (TIMEOUT, ONCE),
    "fault=cut": (BROKEN, ATTEMPTS),
    "fault=end": (BROKEN, ATTEMPTS),
    "fault=garbage": (BROKEN, ONCE),
    "fault=error": (BROKEN, ATTEMPTS),
}
# Each protocol has a provider that speaks it; their names are those of settings.
MODELS: Final = {"faulty": "gpt", "anthropic": "claude-sonnet-4-6", "ollama": "llama3.2"}
FAULTS: Final = {
    f"{provider}/{model}?{fault}": expected
    for provider, model in MODELS.items()
    for fault, expected in ANY_FAULTS.items()
} | {"faulty/gpt?status=429&error_code=insufficient_quota": (LIMITED, ONCE)}
# Not faulty, but too long.
ENDLESS: Final = tuple(f"{provider}/{model}?tokens=100000&delay=0.05" for provider, model in MODELS.items())
ABSENT: Final = "absent/gpt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a message to a faulty model: the stream, the run, what was stored, and the next message."""

    stream: Stream
    run: Any
    messages: list[Any]
    calls: list[Call]
    next: Stream


@pytest.fixture(scope="module")
def providers(running_provider: Provider) -> Iterator[dict[str, Provider]]:
    """The stand-ins by the names of their providers."""
    with (
        provider_on_a_thread(KEY, AnthropicStandIn) as anthropic,
        provider_on_a_thread(KEY, OllamaStandIn) as ollama,
    ):
        yield {"faulty": running_provider, "anthropic": anthropic, "ollama": ollama}


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, provider_settings: dict[str, str], providers: dict[str, Provider]
) -> Iterator[Served]:
    """A server without patience."""
    models: dict[str, list[str]] = {provider: [model] for provider, model in MODELS.items()}
    for name in (*FAULTS, *ENDLESS):
        provider, _, model = name.partition("/")
        models[provider].append(model)
    endpoints = {
        "faulty": {"base_url": providers["faulty"].base_url, "api_key": KEY, "models": models["faulty"]},
        # Nobody listens there.
        "absent": {"base_url": "http://127.0.0.1:9/v1", "models": ["gpt"]},
    }
    given = {**provider_settings, "provider_attempts": str(ATTEMPTS), "endpoints": json.dumps(endpoints)}
    for provider in ("anthropic", "ollama"):
        given |= {
            f"{provider}_base_url": providers[provider].base_url,
            f"{provider}_api_key": KEY,
            f"{provider}_models": json.dumps(models[provider]),
        }
    given |= {"provider_first_token_seconds": "1.5", "provider_idle_seconds": "1.5", "run_seconds": "5"}
    with served(tmp_path_factory.mktemp("faults"), **given) as server:
        yield server


@pytest.fixture(params=MODELS)
def asked(request: pytest.FixtureRequest, providers: dict[str, Provider]) -> tuple[Provider, dict[str, str]]:
    """Each provider, which remembers nothing of before, with the overrides that ask it."""
    provider = providers[request.param]
    provider.clear()
    return provider, {"model": f"{request.param}/{MODELS[request.param]}"}


@pytest.fixture(scope="module")
def outcomes(server: Served, providers: dict[str, Provider]) -> dict[str, Outcome]:
    """What became of a message to each faulty model; all at once, since some take their time."""

    async def fail_all() -> dict[str, Outcome]:
        async with server.connect() as anyone:
            client = (await signed_in(anyone)).client
            names = (*FAULTS, *ENDLESS, ABSENT)
            found = await asyncio.gather(*(fail(client, providers, name) for name in names))
        return dict(zip(names, found, strict=True))

    providers["faulty"].clear()
    return asyncio.run(fail_all())


async def fail(client: Client, providers: dict[str, Provider], model: str) -> Outcome:
    """Send a message to a faulty model, look at all that is left of it, and send another to a good one."""
    conversation_id = (await client.conversation()).id
    stream = await client.ask(conversation_id, "one two three four", overrides={"model": model})
    run = await client.run(stream.run_id)
    messages = await client.messages(conversation_id)
    after = await client.ask(conversation_id, "And now?")
    calls = [call for name, provider in providers.items() for call in provider.calls if f"{name}/{call.model}" == model]
    return Outcome(stream=stream, run=run, messages=messages, calls=calls, next=after)


@pytest.mark.parametrize("fault", [*FAULTS, ABSENT])
async def test_a_failure_of_the_provider_is_a_failed_run(outcomes: dict[str, Outcome], fault: str) -> None:
    """T10: with its reason in the event and in the run, without an answer, and the conversation is free."""
    outcome = outcomes[fault]
    reason, asked = FAULTS.get(fault, (UNAVAILABLE, 0))
    stream, run = outcome.stream, outcome.run
    assert stream.fold.last is not None
    failed = stream.fold.last.failed
    assert (stream.fold.end, ErrorReason.Name(failed.reason)) == ("failed", f"ERROR_REASON_{reason}")
    assert (run.state, run.failure.reason, run.failure.message) == (
        run_pb2.RUN_STATE_FAILED,
        failed.reason,
        failed.message,
    )
    assert (run.last_seq, run.usage) == (stream.fold.last.seq, failed.usage)
    assert run.HasField("finish_time")
    assert stream.fold.stored == {}
    assert [message.role for message in outcome.messages] == [ROLE_USER]
    assert len(outcome.calls) == asked
    # What had been streamed is taken back in so many words; what had not been does not appear.
    begun = "&after=" in fault
    assert [kind in stream.fold.kinds for kind in ("message_started", "message_discarded")] == [begun, begun]
    assert (outcome.next.fold.end, outcome.next.text) == ("completed", "You said: And now?")
    if FAULTS.get(fault, ("", 0))[0] == TIMEOUT:
        await until(outcome.calls[0].connection.closed.is_set)


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.END, Fault.GARBAGE, Fault.ERROR, Fault.UNFRAMED])
async def test_an_answer_that_breaks_off_is_taken_back(
    anyone: Client, asked: tuple[Provider, dict[str, str]], fault: Fault
) -> None:
    """T10: what was streamed is discarded and not stored, and the provider is not asked again."""
    provider, overrides = asked
    client = (await signed_in(anyone)).client
    conversation_id = (await client.conversation()).id
    gate = provider.hold(after=2, fault=fault, text="one two three four")
    stream = await client.send(conversation_id, "Hello", overrides=overrides).until(written(2))
    gate.open()
    assert (await stream.to_end()).reason == ""
    assert stream.fold.last is not None
    assert ErrorReason.Name(stream.fold.last.failed.reason) == f"ERROR_REASON_{BROKEN}"
    assert (stream.fold.kinds[-2:], stream.fold.stored) == (["message_discarded", "failed"], {})
    # What it took is reported all the same.
    assert stream.fold.usage.output_tokens > 0
    assert [message.role for message in await client.messages(conversation_id)] == [ROLE_USER]
    assert len(provider.calls) == 1
    assert (await client.ask(conversation_id, "And now?")).text == "You said: And now?"


async def test_a_provider_that_recovers_in_time_is_not_noticed(
    anyone: Client, asked: tuple[Provider, dict[str, str]]
) -> None:
    """T10: a fault before the first piece of text is repeated, and the answer is whole and stored once."""
    provider, overrides = asked
    client = (await signed_in(anyone)).client
    conversation_id = (await client.conversation()).id
    for fault in (Plan(status=503, retry_after="0"), Plan.named("?fault=cut")):
        provider.plan(fault, Plan(text="Here I am."))
        stream = await client.ask(conversation_id, "Hello?", overrides=overrides)
        assert (stream.fold.end, list(stream.fold.stored.values())) == ("completed", ["Here I am."])
        assert stream.fold.kinds.count("message_started") == 1
    assert len(provider.calls) == 4
    assert len(await client.messages(conversation_id)) == 4


async def test_a_run_that_is_cancelled_has_left_its_provider(
    anyone: Client, asked: tuple[Provider, dict[str, str]]
) -> None:
    """The connection is closed, whoever speaks on it, and what was written up to then is kept."""
    provider, overrides = asked
    client = (await signed_in(anyone)).client
    conversation_id = (await client.conversation()).id
    provider.hold(after=2, text="one two three")
    stream = await client.send(conversation_id, "Hello", overrides=overrides).until(written(2))
    assert (await client.ok("CancelRun", run_id=stream.run_id)).run.state == run_pb2.RUN_STATE_CANCELLED
    await provider.closed(provider.calls[0])
    assert not provider.calls[0].complete
    assert (await stream.to_end()).reason == ""
    assert (stream.fold.end, list(stream.fold.stored.values())) == ("cancelled", ["one two"])


@pytest.mark.parametrize("model", ENDLESS)
async def test_a_run_that_takes_too_long_is_ended(outcomes: dict[str, Outcome], model: str) -> None:
    """T10: also where the provider never stops sending."""
    outcome = outcomes[model]
    assert outcome.stream.fold.last is not None
    assert ErrorReason.Name(outcome.stream.fold.last.failed.reason) == "ERROR_REASON_RUN_TIMEOUT"
    assert outcome.run.state == run_pb2.RUN_STATE_FAILED
    assert outcome.run.failure.reason == outcome.stream.fold.last.failed.reason
    await until(outcome.calls[0].connection.closed.is_set)
    assert (outcome.next.fold.end, outcome.next.text) == ("completed", "You said: And now?")
