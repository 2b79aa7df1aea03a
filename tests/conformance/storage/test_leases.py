"""What a store of runs guarantees of leases and attempts."""

import asyncio
from dataclasses import replace

from chatter_grpc.core.runs.run import LogPosition, Run
from chatter_grpc.core.storage import Storage
from tests.support.records import PROCESS, batch_of, deltas_of, finish_run, last_batch, start_run, store_conversation

OTHER = "process_2"
LONG = 600.0


async def start(storage: Storage, lease: float = LONG, process_id: str = PROCESS) -> Run:
    return await start_run(storage, await store_conversation(storage), lease=lease, process_id=process_id)


async def take(storage: Storage, process_id: str = OTHER, *, lease: float = LONG, limit: int = 100) -> tuple[Run, ...]:
    async with storage.write() as tx:
        return await tx.runs.take_lost(process_id, lease, limit)


async def test_a_run_whose_lease_holds_is_not_taken(storage: Storage) -> None:
    await start(storage)
    assert await take(storage) == ()


async def test_a_run_whose_lease_expired_is_taken_with_the_next_attempt(storage: Storage) -> None:
    run = await start(storage, lease=-1)
    await start(storage)
    assert await take(storage) == (replace(run, attempt=2),)
    # It is leased anew.
    assert await take(storage) == ()
    async with storage.read() as tx:
        assert await tx.runs.get(run.owner_id, run.id) == replace(run, attempt=2)


async def test_a_run_that_has_ended_is_not_taken(storage: Storage) -> None:
    run = await start(storage, lease=-1)
    await finish_run(storage, run)
    assert await take(storage) == ()


async def test_no_more_runs_are_taken_than_asked_for(storage: Storage) -> None:
    started = {(await start(storage, lease=-1)).id for _ in range(5)}
    first = await take(storage, limit=3)
    second = await take(storage, limit=3)
    assert (len(first), len(second)) == (3, 2)
    assert {run.id for run in (*first, *second)} == started


async def test_two_processes_never_take_the_same_run(storage: Storage) -> None:
    started = [(await start(storage, lease=-1)).id for _ in range(12)]

    async def take_and_wait(number: int) -> list[str]:
        async with storage.write() as tx:
            taken = await tx.runs.take_lost(f"process_{number}", LONG, 4)
            await asyncio.sleep(0.02)
            return [run.id for run in taken]

    taken = [run_id for ids in await asyncio.gather(*(take_and_wait(n) for n in range(4))) for run_id in ids]
    assert sorted(taken) == sorted(started)


async def test_what_an_attempt_before_writes_afterwards_is_fenced_off(storage: Storage) -> None:
    run = await start(storage, lease=-1)
    (taken,) = await take(storage)
    assert not await finish_run(storage, run)
    async with storage.read() as tx:
        assert await tx.runs.get(run.owner_id, run.id) == taken
    assert await finish_run(storage, taken, last=last_batch(taken, 3))


async def test_renewing_extends_the_leases_of_those_runs_that_a_process_holds(storage: Storage) -> None:
    renewed = await start(storage, lease=-1)
    left_out = await start(storage, lease=-1)
    others = await start(storage, lease=-1, process_id=OTHER)
    async with storage.write() as tx:
        await tx.runs.renew_leases(PROCESS, [renewed.id, others.id], LONG)
    assert {run.id for run in await take(storage)} == {left_out.id, others.id}


async def test_a_run_that_was_taken_is_not_renewed_by_the_one_that_lost_it(storage: Storage) -> None:
    run = await start(storage, lease=-1)
    await take(storage, lease=-1)
    async with storage.write() as tx:
        await tx.runs.renew_leases(PROCESS, [run.id], LONG)
    assert [each.attempt for each in await take(storage)] == [3]


async def test_all_leases_end_at_once_for_the_sole_user_of_a_database(storage: Storage) -> None:
    runs = {(await start(storage)).id for _ in range(2)}
    ended = await start(storage)
    await finish_run(storage, ended)
    async with storage.write() as tx:
        assert await tx.runs.expire_leases() == 2
    assert {run.id for run in await take(storage)} == runs


async def test_the_log_goes_on_with_the_numbers_after_those_of_the_attempt_before(storage: Storage) -> None:
    run = await start(storage, lease=-1)
    (taken,) = await take(storage)
    last = batch_of(taken, 3, [deltas_of("a", "b")])
    assert await finish_run(storage, taken, last=last)
    async with storage.read() as tx:
        entries = await tx.runs.read_log(run.id, LogPosition(), 10_000)
    assert [(entry.attempt, entry.seq) for entry in entries] == [(1, 1), (1, 2), (2, 4)]
