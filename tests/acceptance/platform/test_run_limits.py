"""Runs that wait outlive their server, and no owner has more of them, or longer answers, than the settings say."""

from pathlib import Path

import grpc
import pytest

from chatter_grpc._gen.chatter.v1 import content_pb2, run_pb2
from tests.acceptance.platform.effects.messages import end_of
from tests.acceptance.platform.effects.site import Site
from tests.support.openai_plans import Plan
from tests.support.provider import Provider
from tests.support.served import Account, Client, message, served, signed_in, written

LIMITS = {"runs_per_owner": "1", "pending_runs_per_owner": "2", "max_answer_bytes": "1024"}


async def places(client: Client, count: int) -> list[str]:
    return [(await client.conversation()).id for _ in range(count)]


async def be_refused(ada: Account, provider: Provider) -> list[str]:
    """Have as many runs as may be, and be refused more; return the ids of those that wait."""
    client, gate = ada.client, provider.hold(after=1, text="one two")
    first, *rest, full, busy = await places(client, 5)
    at_work = await client.send(first, "Hello").until(written(1))
    waiting = [(await client.ok("CreateRun", **message(place, "Later"))).run for place in rest]
    assert {run.state for run in waiting} == {run_pb2.RUN_STATE_PENDING}
    for name, place, reason in (
        ("CreateRun", full, "TOO_MANY_PENDING_RUNS"),
        ("SendMessage", busy, "TOO_MANY_RUNS"),
    ):
        answer = await client.call(name, **message(place, "No"))
        assert (answer.code, answer.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, reason)
        kinds = [type(detail).__name__ for detail in answer.details]
        assert {"RetryInfo", "QuotaFailure"} <= set(kinds)
        assert "grpc-retry-pushback-ms" in answer.trailing
        assert await client.messages(place) == []
    gate.open()
    assert (await at_work.to_end()).reason == ""
    return [run.id for run in waiting]


async def is_cut_off(ada: Account, provider: Provider) -> None:
    """Whether an answer that goes on and on ends at the bound, and the provider's connection with it."""
    (place,) = await places(ada.client, 1)
    gate = provider.hold(after=300, text="12345678 " * 400)
    stream = await ada.client.ask(place, "Talk")
    _, answer = await ada.client.messages(place)
    assert (len(answer.parts[0].text.text), answer.finish_reason) == (1024, content_pb2.FINISH_REASON_LENGTH)
    assert list(stream.fold.stored.values()) == [answer.parts[0].text.text]
    await provider.closed(provider.calls[-1])
    gate.open()


@pytest.mark.platform("T9")
async def test_no_run_takes_more_than_the_server_allows_any(
    tmp_path: Path, provider: Provider, provider_settings: dict[str, str]
) -> None:
    """T9: "Hello" counts 2 tokens; of 7, 5 are left for the answer, which cost 10 micro-dollars each; 34 pay for 3."""
    limits = {"run_tokens": "7", "run_cost_micros": "34", "run_seconds": "60"}
    settings = {**provider_settings, **limits, "data_dir": str(tmp_path / "data")}
    with served(tmp_path / "log", **settings) as server:
        async with server.connect() as anyone:
            ada = await signed_in(anyone)
            for asked, most in (({}, 3), ({"max_tokens": 6, "max_cost_micros": 1_000}, 3), ({"max_tokens": 4}, 2)):
                (place,) = await places(ada.client, 1)
                stream = await ada.client.ask(place, "Hello", budget=asked)
                assert provider.calls[-1].body["max_tokens"] == most
                budget = (await ada.client.run(stream.run_id)).budget
                held = (budget.max_tokens, budget.max_cost_micros, budget.max_duration.seconds)
                assert held == (min(asked.get("max_tokens", 7), 7), 34, 60)
            (place,) = await places(ada.client, 1)
            unpriced = message(place, "Hello", overrides={"model": "openai/other"})
            assert await ada.client.reason("SendMessage", **unpriced) == "BUDGET_UNPRICED"
            free = await ada.client.ask(place, "Hello", overrides={"model": "chatter/offline"})
            assert free.fold.end == "completed", "the built-in model costs nothing"
            assert await ada.client.reason("SendMessage", **message(place, "Hello " * 10)) == "BUDGET_EXCEEDED"


@pytest.mark.platform("T9", "T10")
async def test_what_waits_outlives_its_server_and_nobody_has_more_than_allowed(
    tmp_path: Path, provider: Provider, provider_settings: dict[str, str]
) -> None:
    """T9: the settings have their effects. T10: a run that waits is not forgotten, and comes to an end."""
    settings = {**provider_settings, **LIMITS, "data_dir": str(tmp_path / "data")}
    with served(tmp_path / "first", **settings, detached_runs="0") as server:
        async with server.connect() as anyone:
            ada = await signed_in(anyone)
            waiting = await be_refused(ada, provider)
            await is_cut_off(ada, provider)
            states = {(await ada.client.run(run_id)).state for run_id in waiting}
            assert states == {run_pb2.RUN_STATE_PENDING}, "this server leaves them to others"
        assert server.process.stop() == 0
    provider.plan(*(Plan(text="at last") for _ in waiting))
    with served(tmp_path / "second", **settings) as server:
        async with server.connect() as anyone:
            account = Account(
                user=ada.user, password="", tokens=ada.tokens, client=anyone.trusting(ada.tokens.access_token)
            )
            site = Site(server=server, anyone=anyone, account=account, provider=provider)
            assert [await end_of(site, run_id) for run_id in waiting] == [run_pb2.RUN_STATE_COMPLETED] * 2
            runs = [await account.client.run(run_id) for run_id in waiting]
    # One of them at a time, for there is one owner.
    assert runs[0].finish_time.ToNanoseconds() <= runs[1].finish_time.ToNanoseconds()
