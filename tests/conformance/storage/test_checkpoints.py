"""What a store of checkpoints guarantees, and what a run's log does that grows in a transaction with them."""

from dataclasses import replace

import pytest

from chatter_grpc.core.runs.checkpoints import CheckpointFilter, Place, StoredCheckpoint, StoredWrite, ValueKey
from chatter_grpc.core.runs.run import LogPosition, Run
from chatter_grpc.core.storage import Storage
from tests.support.records import batch_of, deltas_of, finish_run, start_run, store_conversation
from tests.support.taking import take_lost

PLACE = Place("run_1")
FIRST = StoredCheckpoint(place=PLACE, id="1", parent_id="", body=b"first", metadata=b"a")
SECOND = StoredCheckpoint(place=PLACE, id="2", parent_id="1", body=b"\x00second", metadata=b"b")
KEY = ValueKey("turns", "1")


def write(index: int, *, task: str = "t", path: str = "p", value: bytes = b"x", channel: str = "turns") -> StoredWrite:
    return StoredWrite(task_id=task, task_path=path, index=index, channel=channel, value=value)


async def add(storage: Storage, *checkpoints: StoredCheckpoint) -> None:
    async with storage.write() as tx:
        for checkpoint in checkpoints:
            await tx.checkpoints.add(checkpoint, {})


async def test_checkpoints_are_found_by_their_ids_and_the_latest_without_one(storage: Storage) -> None:
    await add(storage, FIRST, SECOND, replace(FIRST, place=Place("run_2"), id="3"))
    async with storage.read() as tx:
        assert await tx.checkpoints.find(PLACE) == SECOND
        assert await tx.checkpoints.find(PLACE, "1") == FIRST
        assert await tx.checkpoints.find(PLACE, "3") is None
        assert await tx.checkpoints.find(Place("run_1", "other")) is None


async def test_checkpoints_are_listed_the_latest_first_of_what_is_wanted(storage: Storage) -> None:
    elsewhere = replace(FIRST, place=Place("run_1", "inner"), id="0")
    other = replace(FIRST, place=Place("run_2"), id="3")
    await add(storage, FIRST, SECOND, elsewhere, other)
    async with storage.read() as tx:
        store = tx.checkpoints
        assert list(await store.list(CheckpointFilter())) == [other, SECOND, FIRST, elsewhere]
        assert list(await store.list(CheckpointFilter(run_id="run_1", namespace=""))) == [SECOND, FIRST]
        assert list(await store.list(CheckpointFilter(run_id="run_1"), 2)) == [SECOND, FIRST]
        assert list(await store.list(CheckpointFilter(before="2", id="0"))) == [elsewhere]
        assert list(await store.list(CheckpointFilter(before="2"))) == [FIRST, elsewhere]


async def test_a_value_is_kept_once_for_the_checkpoints_that_share_it(storage: Storage) -> None:
    async with storage.write() as tx:
        await tx.checkpoints.add(FIRST, {KEY: b"one", ValueKey("turns", "2"): b"two"})
        await tx.checkpoints.add(SECOND, {ValueKey("more", "1"): b"\x00"})
    async with storage.read() as tx:
        keys = [KEY, ValueKey("more", "1"), ValueKey("more", "2")]
        assert await tx.checkpoints.values(PLACE, keys) == {KEY: b"one", ValueKey("more", "1"): b"\x00"}
        assert await tx.checkpoints.values(Place("run_2"), keys) == {}
        assert await tx.checkpoints.values(PLACE, []) == {}


async def test_writes_come_in_the_order_of_paths_tasks_and_indices(storage: Storage) -> None:
    writes = [write(1, task="b"), write(0, task="b"), write(0, task="a", path="q"), write(0, task="c")]
    async with storage.write() as tx:
        await tx.checkpoints.add_writes(PLACE, "1", writes)
        await tx.checkpoints.add_writes(PLACE, "2", [write(5)])
    async with storage.read() as tx:
        assert list(await tx.checkpoints.writes(PLACE, "1")) == [writes[1], writes[0], writes[3], writes[2]]
        assert list(await tx.checkpoints.writes(Place("run_1", "inner"), "1")) == []


async def test_what_is_added_again_is_there_once_and_marks_are_replaced(storage: Storage) -> None:
    for value in (b"x", b"y"):
        async with storage.write() as tx:
            await tx.checkpoints.add(replace(FIRST, body=value), {KEY: value})
            await tx.checkpoints.add_writes(PLACE, "1", [write(0, value=value), write(-3, value=value)])
    async with storage.read() as tx:
        assert await tx.checkpoints.find(PLACE) == replace(FIRST, body=b"x")
        assert await tx.checkpoints.values(PLACE, [KEY]) == {KEY: b"x"}
        assert list(await tx.checkpoints.writes(PLACE, "1")) == [write(-3, value=b"y"), write(0, value=b"x")]


async def test_deleting_takes_all_of_the_runs_and_nothing_of_others(storage: Storage) -> None:
    others = Place("run_2")
    for place in (PLACE, others, Place("run_3", "inner")):
        async with storage.write() as tx:
            await tx.checkpoints.add(replace(FIRST, place=place), {KEY: b"x"})
            await tx.checkpoints.add_writes(place, "1", [write(0)])
    async with storage.write() as tx:
        await tx.checkpoints.delete(("run_1", "run_3"))
    async with storage.read() as tx:
        assert list(await tx.checkpoints.list(CheckpointFilter())) == [replace(FIRST, place=others)]
        assert await tx.checkpoints.values(PLACE, [KEY]) == {}
        assert await tx.checkpoints.values(others, [KEY]) == {KEY: b"x"}
        assert list(await tx.checkpoints.writes(PLACE, "1")) == []
        assert list(await tx.checkpoints.writes(others, "1")) == [write(0)]


async def start(storage: Storage, lease: float = 600.0) -> Run:
    return await start_run(storage, await store_conversation(storage), lease=lease)


async def append(
    storage: Storage, run: Run, after: LogPosition, *, events: bool = True, progress: bool = False
) -> bool:
    batch = batch_of(run, after.seq + 1, (deltas_of("x", "y"),), attempt=after.attempt) if events else None
    async with storage.write() as tx:
        return await tx.runs.append(run.id, after, batch, progress=progress)


async def last_seq(storage: Storage, run: Run) -> int:
    async with storage.read() as tx:
        entries = await tx.runs.read_log(run.id, LogPosition(), 1 << 30)
        now = await tx.runs.get(run.owner_id, run.id)
    assert entries[-1].seq == now.last_seq
    return now.last_seq


async def test_events_are_appended_where_the_log_ends(storage: Storage) -> None:
    run = await start(storage)
    assert await append(storage, run, LogPosition(1, run.last_seq))
    assert await last_seq(storage, run) > run.last_seq


@pytest.mark.parametrize("events", [True, False])
async def test_nothing_is_appended_for_another_attempt_or_elsewhere(storage: Storage, *, events: bool) -> None:
    run = await start(storage)
    for after in (LogPosition(2, run.last_seq), LogPosition(1, run.last_seq + 1), LogPosition(1, run.last_seq - 1)):
        assert not await append(storage, run, after, events=events)
    assert await last_seq(storage, run) == run.last_seq


async def test_nothing_is_appended_to_a_run_that_has_ended(storage: Storage) -> None:
    run = await start(storage)
    await finish_run(storage, run)
    seq = await last_seq(storage, run)
    assert not await append(storage, run, LogPosition(1, seq))
    assert await last_seq(storage, run) == seq


async def test_without_events_the_fence_alone_is_passed(storage: Storage) -> None:
    run = await start(storage)
    assert await append(storage, run, LogPosition(1, run.last_seq), events=False)
    assert await last_seq(storage, run) == run.last_seq


@pytest.mark.parametrize("progress", [True, False])
async def test_a_step_that_finished_begins_the_count_of_losses_anew(storage: Storage, *, progress: bool) -> None:
    run = await start(storage, lease=-1)
    (second,) = await take_lost(storage, 1, lease=-1)
    assert await append(storage, run, LogPosition(2, second.run.last_seq), progress=progress)
    (third,) = await take_lost(storage, 1, lease=-1)
    assert (second.losses, third.losses) == (1, 0 if progress else 2)
