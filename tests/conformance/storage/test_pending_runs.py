"""Runs that wait: who may claim which, what becomes of those that are cancelled, and how many an owner has."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from chatter_grpc.core.conversations import Conversation
from chatter_grpc.core.errors import ConversationBusy, TooManyPendingRuns, TooManyRuns
from chatter_grpc.core.pages import PageRequest
from chatter_grpc.core.runs.events import AttemptStarted, RunCancelled, RunStarted
from chatter_grpc.core.runs.run import LogPosition, Run, RunFilter, RunState
from chatter_grpc.core.storage import Storage
from chatter_grpc.core.usage import Usage
from tests.support.records import (
    LEASE,
    NOW,
    PROCESS,
    a_run,
    an_end,
    an_input,
    batch_of,
    finish_run,
    first_batch,
    start_run,
    store_conversation,
    store_user,
)
from tests.support.taking import take_lost

MANY = 1_000


async def store_pending(storage: Storage, conversation: Conversation, minute: int = 0) -> Run:
    """Store a run that waits, as ``RunStore.get`` returns it."""
    run = a_run(conversation, state=RunState.PENDING, created_at=NOW + timedelta(minutes=minute))
    first = batch_of(run, 1, [RunStarted(run.id, run.conversation_id, run.user_message_id)])
    async with storage.write() as tx:
        await tx.runs.add(run, an_input(run), first, process_id=PROCESS, lease_seconds=LEASE)
    return replace(run, last_seq=1)


async def queue(storage: Storage, owner_id: str, count: int) -> list[Run]:
    """Store runs that wait in conversations of their own, the oldest first."""
    return [await store_pending(storage, await store_conversation(storage, owner_id), each) for each in range(count)]


async def claim(storage: Storage, most: int = MANY, process_id: str = "process_2") -> Run | None:
    async with storage.write() as tx:
        return await tx.runs.claim(process_id, LEASE, most, NOW)


async def claimed(storage: Storage, most: int = MANY) -> str:
    """Claim a run and return its owner; empty where none can be claimed."""
    run = await claim(storage, most)
    return "" if run is None else run.owner_id


async def read_log(storage: Storage, run: Run) -> list[tuple[int, int, object]]:
    async with storage.read() as tx:
        return [(each.attempt, each.seq, each.body) for each in await tx.runs.read_log(run.id, LogPosition(), 1 << 20)]


async def test_a_pending_run_is_nobodys_until_it_is_claimed(storage: Storage) -> None:
    run = await store_pending(storage, await store_conversation(storage))
    async with storage.write() as tx:
        assert await tx.runs.take_lost("reaper", LEASE, 10) == ()
        assert await tx.runs.expire_leases() == 0
        assert await tx.runs.get(run.owner_id, run.id) == run
        assert (await tx.runs.list(run.owner_id, RunFilter(state=RunState.PENDING), PageRequest())).items == (run,)
        assert await tx.runs.active([run.owner_id]) == (run,)
        assert await tx.runs.any_pending()
    at_work = await claim(storage)
    assert at_work == replace(run, state=RunState.RUNNING, last_seq=2)
    assert [body for _, _, body in await read_log(storage, run)] == [
        RunStarted(run.id, run.conversation_id, run.user_message_id),
        AttemptStarted(),
    ]
    assert await claim(storage) is None
    async with storage.write() as tx:
        assert not await tx.runs.any_pending()
        assert await tx.runs.take_lost("reaper", LEASE, 10) == ()
        # It is the claimer's: its intents are found under its name, and its lease can be expired.
        await tx.runs.request_cancel([run.id], NOW)
        assert await tx.runs.cancel_requested("process_2") == (run.id,)
        assert await tx.runs.expire_leases() == 1
    assert [taken.run.id for taken in await take_lost(storage, 1)] == [run.id]


async def test_a_conversation_with_a_pending_run_is_busy(storage: Storage) -> None:
    conversation = await store_conversation(storage)
    run = await store_pending(storage, conversation)
    with pytest.raises(ConversationBusy) as busy:
        await start_run(storage, conversation)
    assert busy.value.metadata["run_id"] == run.id
    assert await claim(storage) is not None
    with pytest.raises(ConversationBusy):
        await store_pending(storage, conversation)


async def test_an_owners_runs_are_claimed_from_the_oldest_to_the_latest(storage: Storage) -> None:
    runs = await queue(storage, (await store_user(storage)).id, 3)
    assert [run.id for run in [await claim(storage) for _ in range(3)] if run] == [run.id for run in runs]


async def test_an_owner_with_many_pending_runs_starves_no_other(storage: Storage) -> None:
    rich, poor, late = [(await store_user(storage)).id for _ in range(3)]
    await queue(storage, rich, 6)
    await queue(storage, poor, 2)
    await queue(storage, late, 1)
    order = [await claimed(storage) for _ in range(9)]
    assert sorted(order[:3]) == sorted([rich, poor, late])
    assert sorted(order[3:5]) == sorted([rich, poor])
    assert order[5:] == [rich] * 4


async def test_owners_take_turns_where_one_run_is_at_work_at_a_time(storage: Storage) -> None:
    rich, poor = [(await store_user(storage)).id for _ in range(2)]
    await queue(storage, rich, 4)
    await queue(storage, poor, 2)
    order = []
    for _ in range(6):
        run = await claim(storage)
        assert run is not None
        order.append(run.owner_id)
        assert await finish_run(storage, run)
        # SQLite's clock counts milliseconds, and of two turns within one either may count as the earlier.
        await asyncio.sleep(0.002)
    assert [set(order[:2]), set(order[2:4]), set(order[4:])] == [{rich, poor}, {rich, poor}, {rich}]


async def test_whoever_has_less_at_work_goes_first_also_after_a_turn(storage: Storage) -> None:
    busy, idle = [(await store_user(storage)).id for _ in range(2)]
    await queue(storage, idle, 2)
    run = await claim(storage)
    assert run is not None
    assert await finish_run(storage, run)
    await start_run(storage, await store_conversation(storage, busy))
    await queue(storage, busy, 1)
    assert [await claimed(storage), await claimed(storage)] == [idle, busy]


async def test_an_owner_at_the_limit_waits_and_others_do_not(storage: Storage) -> None:
    full, other = [(await store_user(storage)).id for _ in range(2)]
    attached = await start_run(storage, await store_conversation(storage, full))
    await queue(storage, full, 3)
    await queue(storage, other, 1)
    assert sorted([await claimed(storage, 2), await claimed(storage, 2)]) == sorted([full, other])
    assert await claimed(storage, 2) == ""
    assert await finish_run(storage, attached)
    assert [await claimed(storage, 2), await claimed(storage, 2)] == [full, ""]


async def test_no_two_claim_the_same_run_nor_one_more_than_may_be_at_work(storage: Storage) -> None:
    owners = [(await store_user(storage)).id for _ in range(3)]
    for owner_id in owners:
        await queue(storage, owner_id, 4)
    found = await asyncio.gather(*(claim(storage, 3, f"process_{each}") for each in range(20)))
    while (more := await claim(storage, 3)) is not None:
        found.append(more)
    runs = [run for run in found if run is not None]
    assert len({run.id for run in runs}) == len(runs) == 9
    assert sorted(run.owner_id for run in runs) == sorted(owners * 3)


async def test_a_pending_run_that_is_cancelled_ends_at_once(storage: Storage) -> None:
    run, other = await queue(storage, (await store_user(storage)).id, 2)
    at_work = await start_run(storage, await store_conversation(storage, run.owner_id))
    later = NOW + timedelta(hours=1)
    async with storage.write() as tx:
        await tx.runs.request_cancel([run.id, at_work.id, "run_none"], later)
    async with storage.read() as tx:
        ended = await tx.runs.get(run.owner_id, run.id)
        still = await tx.runs.get(run.owner_id, at_work.id)
    assert ended == replace(run, state=RunState.CANCELLED, last_seq=2, finished_at=later, cancel_requested_at=later)
    assert still == replace(at_work, cancel_requested_at=later)
    assert (await read_log(storage, run))[1:] == [(1, 2, RunCancelled((), Usage()))]
    assert (await claim(storage), await claim(storage)) == (
        replace(other, state=RunState.RUNNING, last_seq=2),
        None,
    )
    # Its conversation is free again.
    async with storage.read() as tx:
        assert await tx.runs.active([run.owner_id], run.conversation_id) == ()


async def test_all_runs_of_owners_are_cancelled_whatever_their_state(storage: Storage) -> None:
    owner_id, other_id = [(await store_user(storage)).id for _ in range(2)]
    waiting = await queue(storage, owner_id, 3)
    at_work = await start_run(storage, await store_conversation(storage, owner_id))
    (others,) = await queue(storage, other_id, 1)
    async with storage.write() as tx:
        ids = await tx.runs.cancel_all([owner_id, "user_none"], NOW)
        assert sorted(ids) == sorted(run.id for run in (*waiting, at_work))
        assert await tx.runs.cancel_all([], NOW) == ()
    async with storage.read() as tx:
        states = [(await tx.runs.get(owner_id, run.id)).state for run in waiting]
        assert states == [RunState.CANCELLED] * 3
        assert (await tx.runs.get(owner_id, at_work.id)).cancel_requested_at == NOW
        assert await tx.runs.get(other_id, others.id) == others


async def test_cancelling_and_claiming_at_once_leaves_no_run_that_nobody_ends(storage: Storage) -> None:
    runs = await queue(storage, (await store_user(storage)).id, 6)

    async def cancel(run: Run) -> None:
        async with storage.write() as tx:
            await tx.runs.request_cancel([run.id], NOW)

    await asyncio.gather(*(work for run in runs for work in (claim(storage), cancel(run))))
    async with storage.read() as tx:
        found = [await tx.runs.get(run.owner_id, run.id) for run in runs]
        for run in found:
            assert run.cancel_requested_at == NOW
            assert run.state in (RunState.CANCELLED, RunState.RUNNING)
        running = tuple(sorted(run.id for run in found if run.state is RunState.RUNNING))
        assert tuple(sorted(await tx.runs.cancel_requested("process_2"))) == running


async def add_among(storage: Storage, run: Run, most: int) -> None:
    """Add a run of which its owner may have so many."""
    async with storage.write() as tx:
        await tx.runs.add(run, an_input(run), first_batch(run), process_id=PROCESS, lease_seconds=LEASE, most=most)


async def test_an_owner_has_no_more_runs_than_it_may_at_work_and_waiting(storage: Storage) -> None:
    owner_id, other_id = [(await store_user(storage)).id for _ in range(2)]
    await queue(storage, owner_id, 3)
    await queue(storage, other_id, 5)
    first = await start_run(storage, await store_conversation(storage, owner_id))
    conversation = await store_conversation(storage, owner_id)
    with pytest.raises(TooManyRuns) as many:
        await add_among(storage, a_run(conversation), 1)
    assert many.value.metadata["limit"] == "1"
    with pytest.raises(TooManyPendingRuns):
        await add_among(storage, a_run(conversation, state=RunState.PENDING), 3)
    # Nothing is left of what was refused: the conversation is free.
    await add_among(storage, a_run(conversation), 2)
    assert await finish_run(storage, first, an_end())
    await add_among(storage, a_run(await store_conversation(storage, owner_id)), 2)
    await add_among(storage, a_run(await store_conversation(storage, owner_id), state=RunState.PENDING), 4)


async def test_of_an_owners_runs_that_start_at_once_no_more_do_than_may(storage: Storage) -> None:
    owner_id = (await store_user(storage)).id
    runs = [a_run(await store_conversation(storage, owner_id)) for _ in range(5)]
    results = await asyncio.gather(*(add_among(storage, run, 2) for run in runs), return_exceptions=True)
    assert [type(result) for result in results if result is not None] == [TooManyRuns] * 3
