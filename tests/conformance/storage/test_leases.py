"""What a store of runs guarantees of leases and attempts."""

import asyncio
from dataclasses import replace

import pytest

from chatter_grpc.core.runs.events import AttemptStarted, Batch
from chatter_grpc.core.runs.run import LogPosition, Run, RunState, Taken
from chatter_grpc.core.storage import Storage
from tests.support.records import (
    NOW,
    PROCESS,
    batch_of,
    deltas_of,
    finish_run,
    last_batch,
    start_run,
    store_conversation,
)
from tests.support.taking import take_lost

OTHER = "process_2"
LONG = 600.0


async def start(storage: Storage, lease: float = LONG, process_id: str = PROCESS) -> Run:
    return await start_run(storage, await store_conversation(storage), lease=lease, process_id=process_id)


async def take(
    storage: Storage, process_id: str = OTHER, *, lease: float = LONG, limit: int = 100
) -> tuple[Taken, ...]:
    """Take what can be taken just now."""
    async with storage.write() as tx:
        return await tx.runs.take_lost(process_id, lease, limit)


async def take_one(storage: Storage, *, lease: float = LONG) -> Taken:
    (taken,) = await take_lost(storage, 1, lease=lease)
    return taken


async def release(storage: Storage, run: Run, last: Batch | None = None, last_seq: int | None = None) -> bool:
    async with storage.write() as tx:
        return await tx.runs.release(run.id, run.attempt, last, run.last_seq if last_seq is None else last_seq)


async def now_of(storage: Storage, run: Run) -> Run:
    async with storage.read() as tx:
        return await tx.runs.get(run.owner_id, run.id)


def with_attempt(run: Run, attempt: int) -> Run:
    """The run when its next attempt has begun, whose first event is in the log."""
    return replace(run, attempt=attempt, last_seq=run.last_seq + 1)


async def test_a_run_whose_lease_holds_is_not_taken(storage: Storage) -> None:
    await start(storage)
    assert await take(storage) == ()


async def test_a_run_whose_lease_expired_is_taken_with_the_next_attempt(storage: Storage) -> None:
    run = await start(storage, lease=-1)
    await start(storage)
    taken = await take_one(storage)
    assert (taken.run, taken.losses) == (with_attempt(run, 2), 1)
    assert (taken.first.attempt, taken.first.last_seq) == (2, 3)
    # It is leased anew.
    assert await take(storage) == ()
    assert await now_of(storage, run) == with_attempt(run, 2)
    async with storage.read() as tx:
        entries = await tx.runs.read_log(run.id, LogPosition(1, 2), 10_000)
    assert tuple(entries) == taken.first.entries
    assert [entry.body for entry in entries] == [AttemptStarted()]


async def test_whether_there_is_a_lost_run_can_be_asked(storage: Storage) -> None:
    held = await start(storage)
    async with storage.read() as tx:
        assert (await tx.runs.any_lost(), await tx.runs.any_lost(released=True)) == (False, False)
    await start(storage, lease=-1)
    async with storage.read() as tx:
        assert (await tx.runs.any_lost(), await tx.runs.any_lost(released=True)) == (True, False)
    assert await release(storage, held)
    async with storage.read() as tx:
        assert await tx.runs.any_lost(released=True)


async def test_the_time_since_the_first_attempt_began_is_told_by_the_databases_clock(storage: Storage) -> None:
    run = await start(storage, lease=-1)
    first = await take_one(storage, lease=-1)
    await asyncio.sleep(0.02)
    second = await take_one(storage)
    assert 0 <= first.elapsed < second.elapsed < 60
    assert second.run.id == run.id


async def test_losses_are_counted_one_after_the_other(storage: Storage) -> None:
    await start(storage, lease=-1)
    assert [(await take_one(storage, lease=-1)).losses for _ in range(3)] == [1, 2, 3]


async def test_an_attempt_that_finished_a_step_begins_the_count_anew(storage: Storage) -> None:
    await start(storage, lease=-1)
    await take_one(storage, lease=-1)
    second = (await take_one(storage, lease=-1)).run
    async with storage.write() as tx:
        assert await tx.runs.append(second.id, LogPosition(second.attempt, second.last_seq), None, progress=True)
    assert [(await take_one(storage, lease=-1)).losses for _ in range(2)] == [0, 1]


async def test_a_run_that_is_given_back_is_taken_at_once_and_no_loss_is_counted(storage: Storage) -> None:
    run = (await take_after_loss(storage)).run
    last = batch_of(run, run.last_seq + 1, [deltas_of("a", "b")])
    assert await release(storage, run, last)
    assert await now_of(storage, run) == replace(run, last_seq=run.last_seq + 2)
    taken = await take_one(storage)
    assert (taken.run.attempt, taken.losses, taken.first.last_seq) == (3, 1, run.last_seq + 3)
    async with storage.read() as tx:
        entries = await tx.runs.read_log(run.id, LogPosition(2, run.last_seq), 10_000)
    assert tuple(entries) == (*last.entries, *taken.first.entries)


async def take_after_loss(storage: Storage) -> Taken:
    await start(storage, lease=-1)
    return await take_one(storage)


@pytest.mark.parametrize("fault", ["another attempt", "another number", "an end", "released"])
async def test_only_the_attempt_that_holds_a_run_gives_it_back(storage: Storage, fault: str) -> None:
    run = await start(storage, lease=-1)
    giver = run
    match fault:
        case "another attempt":
            await take_one(storage)
        case "another number":
            giver = replace(run, last_seq=1)
        case "an end":
            assert await finish_run(storage, run)
        case "released":
            assert await release(storage, run)
    before = await now_of(storage, run)
    assert not await release(storage, giver)
    assert not await release(storage, giver, batch_of(giver, giver.last_seq + 1, [deltas_of("x")]))
    assert await now_of(storage, run) == before


async def test_a_run_that_was_given_back_is_renewed_by_nobody(storage: Storage) -> None:
    run = await start(storage)
    assert await release(storage, run)
    async with storage.write() as tx:
        for process_id in (PROCESS, ""):
            assert await tx.runs.renew_leases(process_id, {run.id: 1}, LONG) == set()
    assert (await take_one(storage)).run.id == run.id


async def test_a_run_that_is_to_be_cancelled_is_taken_from_whoever_holds_it(storage: Storage) -> None:
    run, other = await start(storage), await start(storage)
    async with storage.write() as tx:
        assert await tx.runs.take(run.id, 1, OTHER, LONG) is None, "nobody wants it cancelled"
        await tx.runs.request_cancel([run.id], NOW)
        assert await tx.runs.take(run.id, 2, OTHER, LONG) is None
        taken = await tx.runs.take(run.id, 1, OTHER, LONG)
        assert taken is not None
        assert await tx.runs.take(run.id, 1, OTHER, LONG) is None, "it has been taken"
    assert taken.run == replace(with_attempt(run, 2), cancel_requested_at=NOW)
    assert await now_of(storage, run) == taken.run
    assert not await finish_run(storage, run)
    assert await finish_run(storage, taken.run)
    async with storage.write() as tx:
        assert await tx.runs.take(run.id, 2, OTHER, LONG) is None, "it has ended"
    assert await now_of(storage, other) == other


async def test_a_run_that_has_ended_is_not_taken(storage: Storage) -> None:
    run = await start(storage, lease=-1)
    await finish_run(storage, run)
    assert await take(storage) == ()


async def test_no_more_runs_are_taken_than_asked_for(storage: Storage) -> None:
    started = {(await start(storage, lease=-1)).id for _ in range(5)}
    first = await take_lost(storage, 3, limit=3)
    second = await take_lost(storage, 2, limit=3)
    assert {taken.run.id for taken in (*first, *second)} == started


async def test_two_processes_never_take_the_same_run(storage: Storage) -> None:
    started = [(await start(storage, lease=-1)).id for _ in range(12)]

    async def take_and_wait(number: int) -> list[str]:
        async with storage.write() as tx:
            taken = await tx.runs.take_lost(f"process_{number}", LONG, 4)
            await asyncio.sleep(0.02)
            return [each.run.id for each in taken]

    taken = [run_id for ids in await asyncio.gather(*(take_and_wait(n) for n in range(4))) for run_id in ids]
    assert sorted(taken) == sorted(started)


async def test_what_an_attempt_before_writes_afterwards_is_fenced_off(storage: Storage) -> None:
    run = await start(storage, lease=-1)
    taken = (await take_one(storage)).run
    assert not await finish_run(storage, run)
    assert await now_of(storage, run) == taken
    assert await finish_run(storage, taken, last=last_batch(taken, 4))


async def test_renewing_extends_the_leases_of_those_runs_that_a_process_holds(storage: Storage) -> None:
    renewed = await start(storage, lease=-1)
    left_out = await start(storage, lease=-1)
    others = await start(storage, lease=-1, process_id=OTHER)
    async with storage.write() as tx:
        held = await tx.runs.renew_leases(PROCESS, {renewed.id: 1, others.id: 1}, LONG)
    assert held == {renewed.id}
    assert {taken.run.id for taken in await take_lost(storage, 2)} == {left_out.id, others.id}


async def test_nothing_is_renewed_where_nothing_is_held(storage: Storage) -> None:
    async with storage.write() as tx:
        assert await tx.runs.renew_leases(PROCESS, {}, LONG) == set()


async def test_an_attempt_is_not_renewed_by_one_before_it_in_the_same_process(storage: Storage) -> None:
    run = await start(storage, lease=-1)
    await take_lost(storage, 1, process_id=PROCESS, lease=-1)
    async with storage.write() as tx:
        assert await tx.runs.renew_leases(PROCESS, {run.id: 1}, LONG) == set()
    assert (await take_one(storage)).run.attempt == 3


async def test_a_run_that_has_ended_is_not_held(storage: Storage) -> None:
    run = await start(storage)
    assert await finish_run(storage, run)
    async with storage.write() as tx:
        assert await tx.runs.renew_leases(PROCESS, {run.id: 1}, LONG) == set()
    assert (await now_of(storage, run)).state is RunState.COMPLETED


async def test_a_run_that_was_taken_is_not_renewed_by_the_one_that_lost_it(storage: Storage) -> None:
    run = await start(storage, lease=-1)
    await take_one(storage, lease=-1)
    async with storage.write() as tx:
        assert await tx.runs.renew_leases(PROCESS, {run.id: 1}, LONG) == set()
    assert (await take_one(storage)).run.attempt == 3


async def test_all_leases_end_at_once_for_the_sole_user_of_a_database(storage: Storage) -> None:
    runs = {(await start(storage)).id for _ in range(2)}
    ended = await start(storage)
    await finish_run(storage, ended)
    async with storage.write() as tx:
        assert await tx.runs.expire_leases() == 2
    assert {taken.run.id for taken in await take_lost(storage, 2)} == runs


async def test_the_log_goes_on_with_the_numbers_after_those_of_the_attempt_before(storage: Storage) -> None:
    run = await start(storage, lease=-1)
    taken = (await take_one(storage)).run
    last = batch_of(taken, 4, [deltas_of("a", "b")])
    assert await finish_run(storage, taken, last=last)
    async with storage.read() as tx:
        entries = await tx.runs.read_log(run.id, LogPosition(), 10_000)
    assert [(entry.attempt, entry.seq) for entry in entries] == [(1, 1), (1, 2), (2, 3), (2, 5)]
