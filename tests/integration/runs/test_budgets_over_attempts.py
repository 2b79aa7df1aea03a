"""Budgets over attempts and branches (G6): what a lost attempt took counts, once, and branches share what there is."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from chatter_grpc.core.budgets import Budget
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.conversations import Conversation, Memory, MemoryMode, ModelSettings
from chatter_grpc.core.models import Price
from chatter_grpc.core.runs.events import UsageReported
from chatter_grpc.core.runs.run import LogCommitter, LogPosition, Run
from chatter_grpc.core.storage import Storage
from chatter_grpc.core.usage import Usage, estimate_tokens
from tests.support.budgets import HELLO, Site, budget_site, reserved
from tests.support.catalogues import Catalogue
from tests.support.graphs import FORK, Steps, graph_of
from tests.support.openai_plans import Plan
from tests.support.records import store_conversation
from tests.support.replicas import Process, stored_messages
from tests.support.waiting import eventually, soon, until

PRICE = Price(input_micros=1_000_000, output_micros=2_000_000)
# Three branches, none of which waits for another one.
BRANCHES = Steps(graph_of([("start", id_) for id_ in "abc"] + [(id_, "end") for id_ in "abc"]))


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
def models(site: Site) -> Catalogue:
    return Catalogue({"model": site.chat}, PRICE)


async def expire(storage: Storage) -> None:
    async with storage.write() as tx:
        await tx.runs.expire_leases()


async def committed(storage: Storage, run: Run) -> str:
    """Return the text that the log has of a run's messages."""
    async with storage.read() as tx:
        entries = await tx.runs.read_log(run.id, LogPosition(), 1 << 30)
    return "".join(piece for entry in entries for piece in getattr(entry.body, "pieces", ()))


async def until_committed(storage: Storage, run: Run, text: str) -> None:
    async def is_committed() -> bool:
        return await committed(storage, run) == text

    await eventually(is_committed)


async def reports(storage: Storage, run_id: str) -> list[UsageReported]:
    async with storage.read() as tx:
        entries = await tx.runs.read_log(run_id, LogPosition(), 1 << 30)
    return [entry.body for entry in entries if isinstance(entry.body, UsageReported)]


async def test_what_a_lost_attempt_took_is_taken_from_what_the_next_is_given(
    storage: Storage, committer: LogCommitter, site: Site, models: Catalogue, caller: Caller, conversation: Conversation
) -> None:
    gate = asyncio.Event()
    site.provider.plan(Plan(tokens=20, gates={10: gate}), Plan(text="one two three"))
    async with (
        Process(storage, committer, models) as gone,
        Process(storage, committer, models, name="b") as here,
    ):
        run_id = await gone.send(caller, conversation.id, budget=Budget(max_tokens=60))
        run = await here.run_of(caller, run_id)
        await until_committed(storage, run, "w0 w1 w2 w3 w4 w5 w6 w7 w8 w9")
        await expire(storage)
        await here.take_over()
        gate.set()
        ended = await here.ended(caller, run_id)
    lost = Usage(input_tokens=HELLO, output_tokens=estimate_tokens("w0 w1 w2 w3 w4 w5 w6 w7 w8 w9"))
    assert site.asked_for == [58, 60 - lost.input_tokens - lost.output_tokens - HELLO]
    found = await reports(storage, run_id)
    assert [(each.usage.output_tokens, each.usage.estimated) for each in found] == [
        (lost.output_tokens, True),
        (3, False),
    ]
    total = sum((each.usage for each in found), Usage())
    assert (ended.state.value, ended.attempt, ended.usage) == ("completed", 2, total)
    assert ended.usage.cost_micros == lost.input_tokens + 2 * lost.output_tokens + 1 + 2 * 3
    assert await reserved(storage, run_id) == []


async def test_an_attempt_that_gave_its_run_back_holds_nothing_of_what_it_did_not_take(
    storage: Storage, committer: LogCommitter, site: Site, models: Catalogue, caller: Caller, conversation: Conversation
) -> None:
    gate = asyncio.Event()
    site.provider.plan(Plan(tokens=20, gates={10: gate}), Plan(text="one two three"))
    async with Process(storage, committer, models) as leaving:
        run_id = await leaving.send(caller, conversation.id, budget=Budget(max_tokens=60))
        await until_committed(storage, await leaving.run_of(caller, run_id), "w0 w1 w2 w3 w4 w5 w6 w7 w8 w9")
    assert [each.settled for each in await reserved(storage, run_id)] == [None], "its log says what it took"
    async with Process(storage, committer, models, name="b") as here:
        await here.take_over()
        gate.set()
        ended = await here.ended(caller, run_id)
    first, second = await reports(storage, run_id)
    assert site.asked_for == [58, 60 - first.usage.input_tokens - first.usage.output_tokens - HELLO]
    assert (ended.state.value, ended.attempt, ended.usage) == ("completed", 2, first.usage + second.usage)


async def test_a_call_that_was_lost_before_it_wrote_anything_counts_what_it_was_sent_and_counts_once(
    storage: Storage, committer: LogCommitter, site: Site, models: Catalogue, caller: Caller, conversation: Conversation
) -> None:
    site.provider.plan(Plan(mute=True), Plan(mute=True), Plan(text="at last"))
    async with (
        Process(storage, committer, models) as first,
        Process(storage, committer, models, name="b") as second,
        Process(storage, committer, models, name="c") as third,
    ):
        run_id = await first.send(caller, conversation.id, budget=Budget(max_tokens=40))
        for number, other in enumerate((second, third), 1):
            await site.provider.wait_for_calls(number)
            await expire(storage)
            await other.take_over()
        ended = await third.ended(caller, run_id)
    assert site.asked_for == [40 - HELLO, 40 - 2 * HELLO, 40 - 3 * HELLO]
    assert (ended.state.value, ended.attempt) == ("completed", 3)
    assert [each.usage.input_tokens for each in await reports(storage, run_id)] == [HELLO, HELLO, 1]
    assert ended.usage == Usage(input_tokens=2 * HELLO + 1, output_tokens=2, cost_micros=2 * HELLO + 5, estimated=True)


async def test_when_attempts_have_taken_it_all_the_run_fails(
    storage: Storage, committer: LogCommitter, site: Site, models: Catalogue, caller: Caller, conversation: Conversation
) -> None:
    gate = asyncio.Event()
    site.provider.plan(Plan(tokens=20, gates={4: gate}))
    async with (
        Process(storage, committer, models) as gone,
        Process(storage, committer, models, name="b") as here,
    ):
        run_id = await gone.send(caller, conversation.id, budget=Budget(max_tokens=HELLO * 2 + 3))
        await until_committed(storage, await here.run_of(caller, run_id), "w0 w1 w2 w3")
        await expire(storage)
        await here.take_over()
        gate.set()
        ended = await here.ended(caller, run_id)
    assert (ended.state.value, ended.failure_reason, ended.attempt) == ("failed", "BUDGET_EXCEEDED", 2)
    assert len(site.provider.calls) == 1
    assert ended.usage.output_tokens == estimate_tokens("w0 w1 w2 w3")
    assert await reserved(storage, run_id) == []


async def test_time_counts_from_the_first_attempt_on(
    storage: Storage, committer: LogCommitter, site: Site, models: Catalogue, caller: Caller, conversation: Conversation
) -> None:
    site.provider.plan(Plan(text="one two", gates={1: asyncio.Event()}))
    async with Process(storage, committer, models) as gone:
        run_id = await gone.send(caller, conversation.id, budget=Budget(max_milliseconds=500))
        await until_committed(storage, await gone.run_of(caller, run_id), "one")
        gone.lose_database()
    await expire(storage)
    await asyncio.sleep(0.5)
    async with Process(storage, committer, models, name="b") as here:
        await here.take_over()
        ended = await here.ended(caller, run_id)
    assert (ended.failure_reason, ended.attempt, len(site.provider.calls)) == ("RUN_TIMEOUT", 2, 1)
    assert ended.usage.output_tokens == 1


async def test_without_a_budget_what_a_lost_call_was_sent_is_counted_too(
    storage: Storage, committer: LogCommitter, site: Site, models: Catalogue, caller: Caller, conversation: Conversation
) -> None:
    gate = asyncio.Event()
    site.provider.plan(Plan(tokens=20, gates={4: gate}), Plan(text="one"))
    async with (
        Process(storage, committer, models) as gone,
        Process(storage, committer, models, name="b") as here,
    ):
        run_id = await gone.send(caller, conversation.id)
        await until_committed(storage, await here.run_of(caller, run_id), "w0 w1 w2 w3")
        await expire(storage)
        await here.take_over()
        gate.set()
        ended = await here.ended(caller, run_id)
    output = estimate_tokens("w0 w1 w2 w3")
    lost, _ = await reports(storage, run_id)
    assert lost.usage == Usage(input_tokens=HELLO, output_tokens=output, cost_micros=HELLO + 2 * output, estimated=True)
    assert ended.usage == lost.usage + Usage(input_tokens=1, output_tokens=1, cost_micros=3)


def served(site: Site, steps: Steps) -> Catalogue:
    """The models of a graph."""
    return Catalogue(dict.fromkeys(steps.ids, site.chat), PRICE)


async def test_branches_share_what_there_is_and_wait_for_each_other_where_it_is_short(
    storage: Storage, committer: LogCommitter, site: Site, caller: Caller, conversation: Conversation
) -> None:
    gate = asyncio.Event()
    site.provider.plan(Plan(text="one two", gates={1: gate}), Plan(text="three four"), Plan(text="five six"))
    async with Process(storage, committer, served(site, BRANCHES), graphs=BRANCHES.graphs) as here:
        run_id = await here.send(caller, conversation.id, budget=Budget(max_tokens=40))
        await site.provider.wait_for_calls(1)
        (held,) = await reserved(storage, run_id)
        assert (held.input_tokens, held.output_tokens) == (HELLO, 38), "one of them has it all while it works"
        gate.set()
        fold = await here.follow(caller, run_id)
        run = await here.run_of(caller, run_id)
    assert (fold.end, len(fold.stored), len(site.provider.calls)) == ("completed", 3, 3)
    # The provider counts a word as a token: 1 is read each time, and 2 are written.
    assert site.asked_for == [40 - HELLO, 40 - 3 - HELLO, 40 - 6 - HELLO]
    assert run.usage.input_tokens + run.usage.output_tokens <= 40
    assert await reserved(storage, run_id) == []


async def test_a_step_that_cannot_be_paid_for_fails_the_run_and_what_had_finished_is_kept(
    storage: Storage, committer: LogCommitter, site: Site, caller: Caller, conversation: Conversation
) -> None:
    site.provider.plan(Plan(text="one two three"), Plan(text="four five six"))
    async with Process(storage, committer, served(site, Steps(FORK)), graphs=Steps(FORK).graphs) as here:
        run_id = await here.send(caller, conversation.id, budget=Budget(max_tokens=14))
        fold = await here.follow(caller, run_id)
        run = await here.run_of(caller, run_id)
    assert (fold.end, run.failure_reason) == ("failed", "BUDGET_EXCEEDED")
    assert sorted(fold.stored.values()) == ["four five six", "one two three"]
    texts = [message.text for message in await stored_messages(storage, caller, conversation.id)]
    assert sorted(texts[1:]) == ["four five six", "one two three"]
    assert len(site.provider.calls) == 2


async def test_a_run_that_is_cancelled_says_what_it_took_and_holds_nothing(
    storage: Storage, committer: LogCommitter, site: Site, models: Catalogue, caller: Caller, conversation: Conversation
) -> None:
    gate = asyncio.Event()
    site.provider.plan(Plan(tokens=20, gates={4: gate}))
    async with Process(storage, committer, models) as here:
        run_id = await here.send(caller, conversation.id, budget=Budget(max_tokens=60))
        await here.until_written(run_id)
        cancelled = await here.runs.cancel(caller, run_id)
    gate.set()
    assert cancelled.state.value == "cancelled"
    assert (cancelled.usage.input_tokens, cancelled.usage.estimated) == (HELLO, True)
    assert cancelled.usage.output_tokens > 0
    assert await reserved(storage, run_id) == []


async def test_where_a_provider_counts_nothing_the_estimate_is_what_was_taken(
    storage: Storage, committer: LogCommitter, site: Site, caller: Caller, conversation: Conversation
) -> None:
    site.provider.plan(*(Plan(text="12345678", usage=False) for _ in range(3)))
    async with Process(storage, committer, served(site, BRANCHES), graphs=BRANCHES.graphs) as here:
        run_id = await here.send(caller, conversation.id, budget=Budget(max_tokens=60))
        fold = await here.follow(caller, run_id)
        run = await here.run_of(caller, run_id)
    assert fold.end == "completed"
    assert site.asked_for == [60 - HELLO, 60 - 4 - HELLO, 60 - 8 - HELLO]
    assert run.usage == Usage(input_tokens=6, output_tokens=6, cost_micros=18, estimated=True)


async def test_a_call_that_failed_before_it_began_gives_back_what_it_held(
    storage: Storage, committer: LogCommitter, site: Site, caller: Caller, conversation: Conversation
) -> None:
    chats = {"model": site.chat, "other": site.chat}
    models = Catalogue(chats, PRICE, fallbacks={"scripted/model": ["scripted/other"]})
    site.provider.plan(Plan(status=429), Plan(text="at last"))
    async with Process(storage, committer, models) as here:
        run_id = await here.send(caller, conversation.id, budget=Budget(max_tokens=30))
        assert (await here.follow(caller, run_id)).end == "completed"
    assert site.asked_for == [28, 28]


async def test_a_reservation_whose_commit_was_not_answered_is_there_once(
    storage: Storage, committer: LogCommitter, site: Site, models: Catalogue, caller: Caller, conversation: Conversation
) -> None:
    gate = asyncio.Event()
    site.provider.plan(Plan(text="one two", gates={1: gate}))
    async with Process(storage, committer, models) as here:
        here.log.gate.clear()
        commits = 0

        def count() -> None:
            nonlocal commits
            commits += 1
            if commits == 2:
                here.faults.lost_answers = 1

        here.faults.at_commit = count
        run_id = await here.send(caller, conversation.id, budget=Budget(max_tokens=30))
        await until(lambda: bool(site.provider.calls))
        assert [each.output_tokens for each in await reserved(storage, run_id)] == [28]
        assert commits == 3, "the start, the reservation, and once more"
        here.log.gate.set()
        gate.set()
        fold = await soon(here.follow(caller, run_id))
    assert fold.end == "completed"
