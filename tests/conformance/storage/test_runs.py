"""What a store of runs guarantees of their records."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatter_grpc.core.conversations import Memory, MemoryMode, ModelSettings
from chatter_grpc.core.errors import ConversationBusy, RunNotFound
from chatter_grpc.core.ids import MESSAGE, SUBJECT, new_id
from chatter_grpc.core.pages import PageRequest
from chatter_grpc.core.runs.run import LogPosition, Run, RunFilter, RunInput, RunState
from chatter_grpc.core.storage import Storage
from chatter_grpc.core.usage import Usage
from tests.support.pages import read_all
from tests.support.records import (
    LEASE,
    NOW,
    PROCESS,
    RUN_USAGE,
    a_conversation,
    a_run,
    an_end,
    an_input,
    batch_of,
    deltas_of,
    finish_run,
    first_batch,
    last_batch,
    start_run,
    store_conversation,
    store_user,
)

LATER = NOW + timedelta(hours=1)


async def get(storage: Storage, run: Run) -> Run:
    async with storage.read() as tx:
        return await tx.runs.get(run.owner_id, run.id)


async def test_a_run_comes_back_as_it_was_stored_with_its_first_events(storage: Storage) -> None:
    conversation = await store_conversation(storage)
    run = await start_run(storage, conversation)
    assert await get(storage, run) == replace(run, last_seq=2)
    async with storage.read() as tx:
        assert await tx.runs.read_log(run.id, LogPosition(), 10_000) == list(first_batch(run).entries)


@pytest.mark.parametrize("system_prompt", [None, "", "Be brief.\x00 \N{SNOWMAN}" * 1000])
async def test_the_input_of_a_run_comes_back_as_it_was_stored(storage: Storage, system_prompt: str | None) -> None:
    run = a_run(await store_conversation(storage))
    run_input = RunInput(
        user_message_id=new_id(MESSAGE),
        before_index=7,
        settings=ModelSettings(model="p/m", temperature=0.25, max_tokens=3, system_prompt=system_prompt),
        memory=Memory(mode=MemoryMode.OFF, window=4),
    )
    async with storage.write() as tx:
        await tx.runs.add(run, run_input, first_batch(run), process_id=PROCESS, lease_seconds=LEASE)
    # Another run's is another.
    await start_run(storage, await store_conversation(storage, run.owner_id))
    async with storage.read() as tx:
        assert await tx.runs.input(run.owner_id, run.id) == run_input


async def test_a_run_of_a_stored_workflow_outside_a_conversation_comes_back_too(storage: Storage) -> None:
    conversation = await store_conversation(storage)
    first = await start_run(storage, conversation, kind=None, workflow_id="wf_1", conversation_id="")
    second = await start_run(storage, conversation, kind=None, workflow_id="wf_1", conversation_id="")
    assert await get(storage, first) == first
    assert await get(storage, second) == second


@pytest.mark.platform("T1", "T2")
async def test_a_foreign_run_is_not_found(storage: Storage) -> None:
    run = await start_run(storage, await store_conversation(storage))
    other = await store_user(storage)
    async with storage.read() as tx:
        for owner_id, run_id in ((other.id, run.id), (run.owner_id, "run_none")):
            with pytest.raises(RunNotFound):
                await tx.runs.get(owner_id, run_id)
            with pytest.raises(RunNotFound):
                await tx.runs.input(owner_id, run_id)
        assert (await tx.runs.list(other.id, RunFilter(), PageRequest())).items == ()
        wanted = RunFilter(conversation_id=run.conversation_id)
        assert (await tx.runs.list(other.id, wanted, PageRequest())).items == ()
        assert await tx.runs.active([other.id]) == ()
        assert await tx.runs.active([other.id], run.conversation_id) == ()


async def test_a_conversation_with_an_active_run_takes_no_second_one(storage: Storage) -> None:
    conversation = await store_conversation(storage)
    run = await start_run(storage, conversation)
    with pytest.raises(ConversationBusy) as raised:
        await start_run(storage, conversation)
    assert raised.value.metadata == {"conversation_id": conversation.id, "run_id": run.id}
    await finish_run(storage, run)
    await start_run(storage, conversation)


async def test_nothing_is_written_in_a_transaction_in_which_a_conversation_was_busy(storage: Storage) -> None:
    conversation = await store_conversation(storage)
    other = await store_conversation(storage, conversation.owner_id)
    await start_run(storage, conversation)

    async def add(*runs: Run) -> None:
        async with storage.write() as tx:
            with suppress(ConversationBusy):
                for run in runs:
                    await tx.runs.add(run, an_input(run), first_batch(run), process_id=PROCESS, lease_seconds=LEASE)
                # Here it is known, at the latest.
                await tx.runs.active([conversation.owner_id])

    for runs in ((a_run(other), a_run(conversation)), (a_run(conversation), a_run(other))):
        with pytest.raises(ConversationBusy):
            await add(*runs)
        for run in runs:
            with pytest.raises(RunNotFound):
                await get(storage, run)


async def test_of_runs_that_start_at_once_in_a_conversation_one_does(storage: Storage) -> None:
    conversation = await store_conversation(storage)

    async def start() -> Run | str:
        try:
            return await start_run(storage, conversation)
        except ConversationBusy as error:
            return error.metadata["run_id"]

    results = await asyncio.gather(*(start() for _ in range(5)))
    (started,) = [result for result in results if isinstance(result, Run)]
    assert [result for result in results if not isinstance(result, Run)] == [started.id] * 4


async def test_a_run_that_waits_for_another_to_end_in_its_conversation_starts_then(storage: Storage) -> None:
    conversation = await store_conversation(storage)
    run = await start_run(storage, conversation)
    async with storage.write() as tx:
        assert await tx.runs.finish(an_end(), last_batch(run))
        starting = asyncio.create_task(start_run(storage, conversation))
        await asyncio.sleep(0.05)
    assert (await starting).state is RunState.RUNNING


@pytest.mark.parametrize("state", [RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED])
async def test_finishing_ends_the_run_and_appends_its_last_events(storage: Storage, state: RunState) -> None:
    run = await start_run(storage, await store_conversation(storage))
    usage = Usage(input_tokens=1, output_tokens=2, cost_micros=None, estimated=True)
    end = an_end(state=state, usage=usage, failure_reason="INTERNAL", failure_message="It broke.")
    last = batch_of(run, 3, [deltas_of("a", "b"), *(entry.body for entry in last_batch(run).entries)])
    assert await finish_run(storage, run, end, last)
    assert await get(storage, run) == replace(
        run,
        state=state,
        last_seq=5,
        usage=usage,
        failure_reason="INTERNAL",
        failure_message="It broke.",
        finished_at=end.finished_at,
    )
    async with storage.read() as tx:
        assert await tx.runs.read_log(run.id, LogPosition(1, 2), 10_000) == list(last.entries)


async def test_a_run_ends_once(storage: Storage) -> None:
    run = await start_run(storage, await store_conversation(storage))
    assert await finish_run(storage, run)
    ended = await get(storage, run)
    assert not await finish_run(storage, run, an_end(state=RunState.CANCELLED), last_batch(run, 4))
    assert not await finish_run(storage, run)
    assert await get(storage, run) == ended
    async with storage.read() as tx:
        assert len(await tx.runs.read_log(run.id, LogPosition(), 10_000)) == 3


@pytest.mark.parametrize(("attempt", "first_seq"), [(2, 3), (1, 4), (1, 2)])
async def test_an_end_that_does_not_continue_the_current_attempt_is_refused(
    storage: Storage, attempt: int, first_seq: int
) -> None:
    run = await start_run(storage, await store_conversation(storage))
    last = batch_of(run, first_seq, [deltas_of("x")], attempt=attempt)
    assert not await finish_run(storage, run, last=last)
    assert await get(storage, run) == run
    async with storage.read() as tx:
        assert len(await tx.runs.read_log(run.id, LogPosition(), 10_000)) == 2


async def test_runs_are_listed_by_conversation_and_state(storage: Storage) -> None:
    conversation = await store_conversation(storage)
    other = await store_conversation(storage, conversation.owner_id)
    ended = await start_run(storage, conversation)
    await finish_run(storage, ended)
    ended = await get(storage, ended)
    running = await start_run(storage, conversation, created_at=LATER)
    elsewhere = await start_run(storage, other, created_at=LATER + timedelta(hours=1))
    expected = {
        RunFilter(): (elsewhere, running, ended),
        RunFilter(conversation_id=conversation.id): (running, ended),
        RunFilter(state=RunState.RUNNING): (elsewhere, running),
        RunFilter(conversation_id=conversation.id, state=RunState.COMPLETED): (ended,),
        RunFilter(conversation_id="conv_none"): (),
    }
    async with storage.read() as tx:
        for wanted, runs in expected.items():
            assert (await tx.runs.list(conversation.owner_id, wanted, PageRequest())).items == runs


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(times=st.lists(st.integers(0, 2), max_size=8), size=st.integers(1, 4))
async def test_pages_of_runs_put_together_are_all_runs_the_latest_first(
    storage: Storage, times: list[int], size: int
) -> None:
    conversation = await store_conversation(storage)
    runs = [
        await start_run(storage, conversation, conversation_id="", created_at=NOW + timedelta(microseconds=at))
        for at in times
    ]
    async with storage.read() as tx:
        listed = await read_all(lambda page: tx.runs.list(conversation.owner_id, RunFilter(), page), size)
    assert listed == sorted(runs, key=lambda run: (run.created_at, run.id), reverse=True)


async def test_active_runs_are_those_of_the_owners_that_are_named(storage: Storage) -> None:
    service = await store_user(storage)
    async with storage.write() as tx:
        subject = await tx.users.subject_owner(service.id, "ann", new_id(SUBJECT), NOW)
    own = await start_run(storage, await store_conversation(storage, service.id))
    subjects = await start_run(
        storage, await store_conversation(storage, subject), actor_id=service.id, created_at=LATER
    )
    await start_run(storage, await store_conversation(storage))
    ended = await start_run(storage, await store_conversation(storage, service.id))
    await finish_run(storage, ended)
    async with storage.read() as tx:
        assert await tx.runs.active([service.id, subject]) == (own, subjects)
        assert await tx.runs.active({service.id}) == (own,)
        assert await tx.runs.active([service.id, subject], subjects.conversation_id) == (subjects,)
        assert await tx.runs.active([service.id], ended.conversation_id) == ()
        assert await tx.runs.active([]) == ()
        assert await tx.runs.active(["\x00", f"{service.id}\x00"]) == ()


async def test_active_runs_of_very_many_owners_are_found_all_the_same(storage: Storage) -> None:
    run = await start_run(storage, await store_conversation(storage))
    async with storage.read() as tx:
        assert await tx.runs.active([run.owner_id, *(f"subj_{number}" for number in range(50_000))]) == (run,)


async def test_an_intent_to_cancel_is_recorded_for_active_runs_and_the_first_stays(storage: Storage) -> None:
    run = await start_run(storage, await store_conversation(storage))
    other = await start_run(storage, await store_conversation(storage), process_id="process_2")
    ended = await start_run(storage, await store_conversation(storage))
    await finish_run(storage, ended)
    async with storage.write() as tx:
        assert await tx.runs.cancel_requested(PROCESS) == ()
        await tx.runs.request_cancel([run.id, other.id, ended.id, "run_none"], NOW)
        await tx.runs.request_cancel([run.id], LATER)
        await tx.runs.request_cancel([], LATER)
        assert await tx.runs.cancel_requested(PROCESS) == (run.id,)
        assert await tx.runs.cancel_requested("process_2") == (other.id,)
    assert await get(storage, run) == replace(run, cancel_requested_at=NOW)
    assert (await get(storage, ended)).cancel_requested_at is None
    await finish_run(storage, run)
    async with storage.read() as tx:
        assert await tx.runs.cancel_requested(PROCESS) == ()


async def test_what_a_run_took_is_kept(storage: Storage) -> None:
    run = await start_run(storage, await store_conversation(storage))
    await finish_run(storage, run)
    assert (await get(storage, run)).usage == RUN_USAGE


async def test_a_run_outlives_its_conversation(storage: Storage) -> None:
    owner = await store_user(storage)
    conversation = a_conversation(owner.id)
    async with storage.write() as tx:
        await tx.conversations.add(conversation)
    run = await start_run(storage, conversation)
    async with storage.write() as tx:
        await tx.conversations.replace(replace(conversation, deleted_at=LATER))
    assert await get(storage, run) == run
    assert await finish_run(storage, run)
