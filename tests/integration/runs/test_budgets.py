"""Budgets of runs (G6): what is asked of models, where answers are cut off, and what is refused before it begins."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from chatter_grpc.core.budgets import Budget
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.conversations import Conversation, Memory, MemoryMode, ModelSettings
from chatter_grpc.core.errors import BudgetExceeded, BudgetUnpriced
from chatter_grpc.core.models import FinishReason, Price
from chatter_grpc.core.runs.run import LogCommitter, RunState
from chatter_grpc.core.starting import RunLimits
from chatter_grpc.core.storage import Storage
from chatter_grpc.core.usage import Usage
from tests.support.budgets import HELLO, Site, budget_site, reserved
from tests.support.catalogues import Catalogue
from tests.support.openai_plans import Fault, Plan
from tests.support.records import store_conversation
from tests.support.replicas import Process, stored_messages
from tests.support.waiting import soon

# 1 micro-dollar for a token that is read, and 2 for one that is written.
PRICE = Price(input_micros=1_000_000, output_micros=2_000_000)
# For what is no matter of the database.
ONLY_SQLITE = pytest.mark.parametrize("databases", ["sqlite"], indirect=True)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with budget_site() as running:
        yield running


@pytest.fixture
async def conversation(storage: Storage, caller: Caller) -> Conversation:
    """A conversation of which nothing is remembered, so that each question counts the same."""
    memory = Memory(mode=MemoryMode.OFF)
    return await store_conversation(storage, caller.owner_id, settings=ModelSettings(), memory=memory)


@pytest.fixture
async def process(storage: Storage, committer: LogCommitter, site: Site) -> AsyncIterator[Process]:
    async with Process(storage, committer, Catalogue({"model": site.chat}, PRICE)) as running:
        yield running


@pytest.mark.parametrize("budget", [Budget(max_tokens=HELLO + 3), Budget(max_cost_micros=HELLO + 3 * 2)])
async def test_an_answer_ends_where_the_budget_does_and_the_run_is_complete(
    process: Process, site: Site, storage: Storage, caller: Caller, conversation: Conversation, budget: Budget
) -> None:
    site.provider.plan(Plan(text="one two three four five"))
    run_id = await process.send(caller, conversation.id, budget=budget)
    fold = await process.follow(caller, run_id)
    run = await process.run_of(caller, run_id)
    _, answer = await stored_messages(storage, caller, conversation.id)
    assert (fold.end, answer.text, answer.finish_reason) == ("completed", "one two three", FinishReason.LENGTH)
    assert site.asked_for == [3]
    assert run.budget == budget
    assert run.usage == Usage(input_tokens=1, output_tokens=3, cost_micros=7)
    assert await reserved(storage, run_id) == [], "what has ended holds nothing"


@ONLY_SQLITE
async def test_what_a_caller_asks_for_is_asked_for_where_it_is_less_than_what_is_left(
    process: Process, site: Site, caller: Caller, conversation: Conversation
) -> None:
    for most, asked in ((4, 4), (None, 98), (99, 98)):
        overrides = ModelSettings(max_tokens=most)
        run_id = await process.send(caller, conversation.id, overrides=overrides, budget=Budget(max_tokens=100))
        assert (await process.follow(caller, run_id)).end == "completed"
        assert site.asked_for[-1] == asked


@ONLY_SQLITE
async def test_a_model_is_asked_for_no_more_than_it_can_give(
    storage: Storage, committer: LogCommitter, site: Site, caller: Caller, conversation: Conversation
) -> None:
    models = Catalogue({"model": site.chat}, PRICE)
    async with Process(storage, committer, models) as process:
        for facts, asked in (({"max_output_tokens": 50}, 50), ({"context_tokens": 30}, 30 - HELLO - 4)):
            models.know("scripted/model", **facts)
            run_id = await process.send(caller, conversation.id, budget=Budget(max_tokens=10_000))
            assert (await process.follow(caller, run_id)).end == "completed"
            assert site.asked_for[-1] == asked


async def test_without_a_budget_nothing_is_bounded_and_nothing_reserved(
    process: Process, site: Site, storage: Storage, caller: Caller, conversation: Conversation
) -> None:
    gate = asyncio.Event()
    site.provider.plan(Plan(text="one two", gates={1: gate}))
    run_id = await process.send(caller, conversation.id, budget=Budget(max_milliseconds=60_000))
    await process.until_written(run_id)
    assert await reserved(storage, run_id) == []
    gate.set()
    assert (await process.follow(caller, run_id)).end == "completed"
    assert site.asked_for == [None]


@pytest.mark.parametrize("detached", [False, True])
async def test_a_budget_that_does_not_even_hold_the_question_is_refused_at_once(
    process: Process, site: Site, storage: Storage, caller: Caller, conversation: Conversation, detached: bool
) -> None:
    for budget, needed in ((Budget(max_tokens=HELLO), HELLO + 1), (Budget(max_cost_micros=HELLO + 1), HELLO + 2)):
        with pytest.raises(BudgetExceeded) as caught:
            await process.send(caller, conversation.id, budget=budget, detached=detached)
        assert caught.value.metadata["needed"] == str(needed)
    assert (await stored_messages(storage, caller, conversation.id), site.provider.calls) == ([], [])


@pytest.mark.parametrize("detached", [False, True])
async def test_what_is_remembered_is_part_of_the_question(
    process: Process, storage: Storage, caller: Caller, detached: bool
) -> None:
    memory = Memory(mode=MemoryMode.WINDOW, window=10)
    talkative = await store_conversation(storage, caller.owner_id, settings=ModelSettings(), memory=memory)
    assert (await process.answer(caller, talkative.id, "word " * 40)).end == "completed"
    with pytest.raises(BudgetExceeded):
        await process.send(caller, talkative.id, budget=Budget(max_tokens=HELLO + 50), detached=detached)
    run_id = await process.send(caller, talkative.id, budget=Budget(max_tokens=HELLO + 250), detached=detached)
    assert (await process.follow(caller, run_id)).end == "completed"


@ONLY_SQLITE
async def test_money_bounds_no_model_whose_price_is_not_known(
    storage: Storage, committer: LogCommitter, site: Site, caller: Caller, conversation: Conversation
) -> None:
    async with Process(storage, committer, Catalogue({"model": site.chat}, None)) as process:
        with pytest.raises(BudgetUnpriced) as caught:
            await process.send(caller, conversation.id, budget=Budget(max_cost_micros=1_000_000))
        assert caught.value.metadata == {"model": "scripted/model"}
        run_id = await process.send(caller, conversation.id, budget=Budget(max_tokens=100))
        assert (await process.follow(caller, run_id)).end == "completed"


@ONLY_SQLITE
async def test_under_a_bound_on_money_a_fallback_without_a_price_is_passed_over(
    storage: Storage, committer: LogCommitter, site: Site, caller: Caller, conversation: Conversation
) -> None:
    chats = {"model": site.chat, "unpriced": site.chat, "priced": site.chat}
    models = Catalogue(chats, PRICE, fallbacks={"scripted/model": ["scripted/unpriced", "scripted/priced"]})
    models.know("scripted/unpriced", price=None)
    async with Process(storage, committer, models) as process:
        for budget, asked in ((Budget(max_cost_micros=100), "priced"), (Budget(max_tokens=100), "unpriced")):
            site.provider.clear()
            site.provider.plan(Plan(status=500), Plan(text="at last"))
            run_id = await process.send(caller, conversation.id, budget=budget)
            assert (await process.follow(caller, run_id)).end == "completed"
            assert [call.body["model"] for call in site.provider.calls] == ["model", asked]


@ONLY_SQLITE
async def test_the_smaller_of_a_callers_budget_and_the_servers_holds(
    storage: Storage, committer: LogCommitter, site: Site, caller: Caller, conversation: Conversation
) -> None:
    server = Budget(max_tokens=HELLO + 4, max_milliseconds=50_000)
    limits = RunLimits(at_work=10, budget=server)
    models = Catalogue({"model": site.chat}, None)
    async with Process(storage, committer, models, limits=limits) as process:
        for asked in (Budget(), Budget(max_tokens=1_000), replace(server, max_tokens=HELLO + 2)):
            run_id = await process.send(caller, conversation.id, "Hello?", budget=asked)
            assert (await process.follow(caller, run_id)).end == "completed"
            assert (await process.run_of(caller, run_id)).budget == asked.within(server)
    assert site.asked_for == [4, 4, 2]


@ONLY_SQLITE
async def test_a_run_ends_when_its_time_is_over_and_what_was_written_is_kept(
    process: Process, site: Site, storage: Storage, caller: Caller, conversation: Conversation
) -> None:
    site.provider.plan(Plan(text="one two", fault=Fault.STALL, after=1))
    run_id = await process.send(caller, conversation.id, budget=Budget(max_milliseconds=300))
    fold = await process.follow(caller, run_id)
    run = await process.run_of(caller, run_id)
    assert (fold.end, run.failure_reason) == ("failed", "RUN_TIMEOUT")
    assert [message.text for message in await stored_messages(storage, caller, conversation.id)] == ["Hello?", "one"]
    await soon(site.provider.wait_until_closed(site.provider.calls[0]))


@ONLY_SQLITE
async def test_a_provider_that_minds_no_bound_is_left_and_what_it_said_is_kept(
    process: Process, site: Site, storage: Storage, caller: Caller, conversation: Conversation
) -> None:
    """It was asked for 5 tokens; at 5 * 2 + 64 by estimate it is left."""
    gate = asyncio.Event()
    site.provider.plan(Plan(pieces=("word",) * 500, unlimited=True, gates={100: gate}))
    run_id = await process.send(caller, conversation.id, budget=Budget(max_tokens=HELLO + 5))
    fold = await process.follow(caller, run_id)
    _, answer = await stored_messages(storage, caller, conversation.id)
    assert (fold.end, answer.finish_reason) == ("completed", FinishReason.LENGTH)
    assert 75 <= len(answer.text) // 4 <= 100
    await soon(site.provider.wait_until_closed(site.provider.calls[0]))
    run = await process.run_of(caller, run_id)
    assert (run.usage.output_tokens, run.usage.estimated) == (len(answer.text) // 4, True)
    gate.set()


async def test_a_call_that_is_needed_and_cannot_be_paid_for_fails_the_run(
    process: Process, site: Site, caller: Caller, conversation: Conversation
) -> None:
    """The answer does not keep its schema, the budget is spent on it, and it would have to be given again."""
    site.provider.plan(Plan(text="nothing of that kind"))
    run_id = await process.send(caller, conversation.id, response_schema="yes", budget=Budget(max_tokens=HELLO + 60))
    fold = await process.follow(caller, run_id)
    run = await process.run_of(caller, run_id)
    assert (fold.end, run.failure_reason, fold.stored) == ("failed", "BUDGET_EXCEEDED", {})
    assert len(site.provider.calls) == 1
    assert run.usage.output_tokens == 4, "what was taken back has cost something"


@ONLY_SQLITE
async def test_an_answer_that_the_budget_cut_off_is_no_answer_in_the_wrong_shape(
    process: Process, site: Site, caller: Caller, conversation: Conversation
) -> None:
    site.provider.plan(Plan(text="one two three yes"))
    run_id = await process.send(caller, conversation.id, response_schema="yes", budget=Budget(max_tokens=80))
    await process.follow(caller, run_id)
    assert (await process.run_of(caller, run_id)).state is RunState.COMPLETED
    site.provider.plan(Plan(text="one " * 80))
    run_id = await process.send(caller, conversation.id, response_schema="yes", budget=Budget(max_tokens=80))
    await process.follow(caller, run_id)
    run = await process.run_of(caller, run_id)
    assert (run.failure_reason, len(site.provider.calls)) == ("BUDGET_EXCEEDED", 2)
