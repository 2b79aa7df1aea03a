"""What a store of logs guarantees to those who read on in many of them at once."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatter_grpc.core.runs.compaction import compact_log
from chatter_grpc.core.runs.events import Entry
from chatter_grpc.core.runs.run import LogCommitter, LogPosition, Run
from chatter_grpc.core.runs.run_logs import SNAPSHOT, LogPart, LogPlace
from chatter_grpc.core.storage import Storage
from tests.support.records import batch_of, deltas_of, finish_run, last_batch, start_run, store_conversation
from tests.support.taking import take_lost
from tests.support.waiting import soon

BEGINNING = LogPosition()
ALL = 1 << 30
POSITIONS = st.builds(LogPosition, st.sampled_from([0, 1, 2, 3, SNAPSHOT]), st.integers(0, 14))
# Fewer bytes than any batch has, some, and all.
SIZES = st.sampled_from([1, 90, 150, 250, ALL])
SHARED = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])


async def say(committer: LogCommitter, run: Run, first_seq: int, attempt: int = 1) -> int:
    """Commit batches of several sizes, and return the number that comes next."""
    for pieces in (["a"], ["b" * 50, "c"], ["d"]):
        batch = batch_of(run, first_seq, [deltas_of(*pieces)], attempt=attempt)
        assert await committer.commit([batch]) == []
        first_seq = batch.last_seq + 1
    return first_seq


@pytest.fixture
async def logs(storage: Storage, committer: LogCommitter) -> tuple[str, str, str]:
    """Ids of runs: with a log of two attempts, with a compacted one, and of one that is not there."""
    run = await start_run(storage, await store_conversation(storage), lease=-1)
    seq = await say(committer, run, 3)
    await take_lost(storage, 1)
    await say(committer, run, seq + 1, attempt=2)
    compacted = await start_run(storage, await store_conversation(storage), lease=600)
    seq = await say(committer, compacted, 3)
    assert await finish_run(storage, compacted, last=last_batch(compacted, seq))
    async with storage.write() as tx:
        assert await compact_log(tx, compacted.id) is not None
    return run.id, compacted.id, "run_none"


async def read(storage: Storage, places: Sequence[LogPlace], most: int = ALL) -> Sequence[LogPart]:
    async with storage.read() as tx:
        return await tx.run_logs.read_many(places, most)


@SHARED
@given(data=st.data())
async def test_many_are_read_as_each_is_alone(
    storage: Storage, logs: tuple[str, str, str], data: st.DataObject
) -> None:
    places = data.draw(st.lists(st.builds(LogPlace, st.sampled_from(logs), POSITIONS), max_size=12))
    most = data.draw(SIZES)
    assert await read(storage, places, most) == [(await read(storage, [place], most))[0] for place in places]


@SHARED
@given(after=POSITIONS.filter(lambda position: position.attempt != SNAPSHOT), most=SIZES)
async def test_a_log_as_it_was_written_is_read_as_the_store_of_runs_reads_it(
    storage: Storage, logs: tuple[str, str, str], after: LogPosition, most: int
) -> None:
    async with storage.read() as tx:
        expected = await tx.runs.read_log(logs[0], after, most)
    (part,) = await read(storage, [LogPlace(logs[0], after)], most)
    assert (part.entries, part.compacted) == (expected, None)


@SHARED
@given(after=POSITIONS, most=SIZES)
async def test_it_says_whether_there_is_more(
    storage: Storage, logs: tuple[str, str, str], after: LogPosition, most: int
) -> None:
    (part,) = await read(storage, [LogPlace(logs[0], after)], most)
    whole, *_ = await read(storage, [LogPlace(logs[0], after)])
    assert not whole.more
    assert part.more == (len(part.entries) < len(whole.entries))
    assert part.entries == whole.entries[: len(part.entries)]


async def test_a_snapshot_says_whether_there_is_more(storage: Storage, logs: tuple[str, str, str]) -> None:
    place = LogPlace(logs[1], LogPosition(SNAPSHOT, 0))
    (whole,) = await read(storage, [place])
    (first,) = await read(storage, [place], 1)
    assert (first.more, whole.more) == (True, False)
    assert list(first.entries) == list(whole.entries[: len(first.entries)])
    assert len(first.entries) < len(whole.entries)


async def test_each_has_its_own_bytes(storage: Storage, logs: tuple[str, str, str]) -> None:
    run, compacted, _ = logs
    places = [LogPlace(run, BEGINNING), LogPlace(compacted, LogPosition(SNAPSHOT, 0)), LogPlace(run, LogPosition(2, 9))]
    parts = await read(storage, places, 1)
    assert [part.more for part in parts] == [True, True, True]
    assert all(part.entries for part in parts), "a batch that is larger comes all the same"


async def test_the_same_place_twice_is_the_same_twice(storage: Storage, logs: tuple[str, str, str]) -> None:
    place = LogPlace(logs[0], LogPosition(1, 4))
    first, second = await read(storage, [place, place])
    assert first == second
    assert first.entries


async def test_no_places_have_no_parts(storage: Storage) -> None:
    assert list(await read(storage, [])) == []


async def test_a_log_of_many_small_batches_is_read_to_its_end(storage: Storage, committer: LogCommitter) -> None:
    run = await start_run(storage, await store_conversation(storage), lease=600)
    batches = [batch_of(run, seq, [deltas_of("")]) for seq in range(3, 603)]
    for batch in batches:
        assert await committer.commit([batch]) == []
    found: list[Entry] = []
    more = True
    while more:
        place = LogPlace(run.id, LogPosition(found[-1].attempt, found[-1].seq) if found else BEGINNING)
        (part,) = await read(storage, [place])
        found += part.entries
        more = part.more
    assert [entry.seq for entry in found] == list(range(1, 603))


async def test_all_are_read_as_they_are_at_one_moment(storage: Storage, committer: LogCommitter) -> None:
    runs = [await start_run(storage, await store_conversation(storage), lease=600) for _ in range(2)]
    places = [LogPlace(run.id, BEGINNING) for run in runs]
    seen: list[list[int]] = []

    async def commit() -> None:
        for seq in range(3, 33):
            assert await committer.commit([batch_of(run, seq, [deltas_of("x")]) for run in runs]) == []

    async def look() -> None:
        while not seen or seen[-1][0] < 32:
            seen.append([part.entries[-1].seq for part in await read(storage, places)])

    await soon(asyncio.gather(commit(), look()))
    assert all(first == second for first, second in seen), "one commit wrote to both"
