"""What a store of runs and a log committer guarantee of the log."""

import asyncio
from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatter_grpc.core.runs.events import AttemptStarted, Batch, Entry, NodeFinished
from chatter_grpc.core.runs.run import LogCommitter, LogPosition, Run
from chatter_grpc.core.storage import Storage
from tests.support.records import batch_of, deltas_of, finish_run, first_batch, start_run, store_conversation
from tests.support.taking import take_lost

ALL = 1_000_000
BEGINNING = LogPosition()


async def start(storage: Storage, lease: float = 600.0) -> Run:
    return await start_run(storage, await store_conversation(storage), lease=lease)


async def take_over(storage: Storage) -> Run:
    (taken,) = await take_lost(storage, 1)
    return taken.run


async def read(storage: Storage, run: Run, after: LogPosition = BEGINNING, most: int = ALL) -> list[Entry]:
    async with storage.read() as tx:
        return list(await tx.runs.read_log(run.id, after, most))


async def last_seq(storage: Storage, run: Run) -> int:
    async with storage.read() as tx:
        return (await tx.runs.get(run.owner_id, run.id)).last_seq


def text_batch(run: Run, first_seq: int, *pieces: str, attempt: int | None = None) -> Batch:
    return batch_of(run, first_seq, [deltas_of(*pieces)], attempt=attempt)


async def test_committed_batches_of_many_runs_are_read_back(storage: Storage, committer: LogCommitter) -> None:
    runs = [await start(storage) for _ in range(5)]
    batches = [
        batch_of(run, 3, [deltas_of(f"{place}", "a\x00\N{SNOWMAN}"), NodeFinished("n")])
        for place, run in enumerate(runs)
    ]
    assert await committer.commit(batches) == []
    for run, batch in zip(runs, batches, strict=True):
        assert await read(storage, run) == [*first_batch(run).entries, *batch.entries]
        assert await last_seq(storage, run) == 5


async def test_nothing_to_commit_is_nothing_to_do(committer: LogCommitter) -> None:
    assert await committer.commit([]) == []


async def test_a_run_that_lost_its_attempt_is_named_and_the_others_are_written(
    storage: Storage, committer: LogCommitter
) -> None:
    before, after = await start(storage), await start(storage)
    lost = await start(storage, lease=-1)
    ended = await start(storage)
    await take_over(storage)
    await finish_run(storage, ended)
    unknown = await start(storage)
    batches = [text_batch(run, 3, "x") for run in (before, lost, ended, after)]
    absent = Batch("run_none", 1, text_batch(unknown, 3, "x").entries)
    assert set(await committer.commit([*batches, absent])) == {lost.id, ended.id, "run_none"}
    assert (await read(storage, before))[2:] == list(batches[0].entries)
    assert (await read(storage, after))[2:] == list(batches[3].entries)
    assert [(entry.attempt, entry.body) for entry in (await read(storage, lost))[2:]] == [(2, AttemptStarted())]
    assert len(await read(storage, ended)) == 3


async def test_a_batch_that_does_not_continue_the_log_is_not_written(storage: Storage, committer: LogCommitter) -> None:
    gap, overlap = await start(storage), await start(storage)
    assert set(await committer.commit([text_batch(gap, 4, "x"), text_batch(overlap, 2, "x", "y")])) == {
        gap.id,
        overlap.id,
    }
    assert await read(storage, gap) == list(first_batch(gap).entries)
    assert await last_seq(storage, overlap) == 2


async def test_an_equal_batch_that_is_sent_again_is_written_once(storage: Storage, committer: LogCommitter) -> None:
    run, other = await start(storage), await start(storage)
    batch = text_batch(run, 3, "a", "b")
    assert await committer.commit([batch]) == []
    assert await committer.commit([batch, text_batch(other, 3, "x")]) == []
    assert await read(storage, run) == [*first_batch(run).entries, *batch.entries]
    assert await last_seq(storage, run) == 4


async def test_a_batch_that_is_sent_again_after_its_attempt_was_lost_is_lost(
    storage: Storage, committer: LogCommitter
) -> None:
    run = await start(storage, lease=-1)
    batch = text_batch(run, 3, "a", "b")
    await committer.commit([batch])
    await take_over(storage)
    assert await committer.commit([batch]) == [run.id]


async def test_the_attempt_that_took_over_writes_on(storage: Storage, committer: LogCommitter) -> None:
    run = await start(storage, lease=-1)
    await committer.commit([text_batch(run, 3, "a", "b")])
    taken = await take_over(storage)
    assert await committer.commit([text_batch(run, 5, "old")]) == [run.id]
    assert await committer.commit([text_batch(run, 6, "old")]) == [run.id]
    assert await committer.commit([text_batch(taken, 6, "new")]) == []
    assert [(entry.attempt, entry.seq) for entry in await read(storage, run)] == [
        *((1, 1), (1, 2), (1, 4)),
        *((2, 5), (2, 6)),
    ]


async def test_an_end_follows_what_was_committed_before_it(storage: Storage, committer: LogCommitter) -> None:
    run = await start(storage)
    await committer.commit([text_batch(run, 3, "a", "b")])
    assert not await finish_run(storage, run)
    assert await finish_run(storage, run, last=batch_of(run, 5, [NodeFinished("n")]))
    assert await committer.commit([text_batch(run, 6, "c")]) == [run.id]


async def test_commits_at_once_are_all_written(storage: Storage, committer: LogCommitter) -> None:
    runs = [await start(storage) for _ in range(6)]
    assert await asyncio.gather(*(committer.commit([text_batch(run, 3, "x")]) for run in runs)) == [[]] * 6
    for run in runs:
        assert await last_seq(storage, run) == 3


async def test_transactions_and_commits_at_once_are_all_written(storage: Storage, committer: LogCommitter) -> None:
    run = await start(storage)

    async def commit() -> None:
        for seq in range(3, 43):
            assert await committer.commit([text_batch(run, seq, "x")]) == []

    async def write() -> None:
        for _ in range(20):
            await store_conversation(storage, run.owner_id)

    await asyncio.gather(commit(), write(), write())
    assert await last_seq(storage, run) == 42


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=3), min_size=1, max_size=4))
async def test_the_log_can_be_cut_at_any_number(
    storage: Storage, committer: LogCommitter, sizes: Sequence[Sequence[int]]
) -> None:
    run = await start(storage)
    batches = [first_batch(run)]
    for batch in sizes:
        bodies = [deltas_of(*"abcd"[:size]) if size > 1 else NodeFinished("n") for size in batch]
        batches.append(batch_of(run, batches[-1].last_seq + 1, bodies))
        assert await committer.commit(batches[-1:]) == []
    entries = [entry for batch in batches for entry in batch.entries]
    for seq in range(batches[-1].last_seq + 2):
        expected = [entry.after(seq) for entry in entries if entry.seq > seq]
        assert await read(storage, run, LogPosition(1, seq)) == expected
        assert not expected or expected[0].first_seq == seq + 1


async def test_a_position_ahead_of_its_attempt_goes_on_with_the_next_attempts_first_event(
    storage: Storage, committer: LogCommitter
) -> None:
    run = await start(storage, lease=-1)
    await committer.commit([text_batch(run, 3, "a")])
    taken = await take_over(storage)
    batch = text_batch(taken, 5, "b", "c", "d")
    await committer.commit([batch])
    for seq in (3, 5, 6, 99):
        entries = await read(storage, run, LogPosition(1, seq))
        assert (entries[0].attempt, entries[0].seq, entries[0].body) == (2, 4, AttemptStarted())
        assert entries[1:] == list(batch.entries)
    assert [entry.first_seq for entry in await read(storage, run, LogPosition(2, 6))] == [7]
    assert await read(storage, run, LogPosition(2, 7)) == []
    assert await read(storage, run, LogPosition(2, 99)) == []


async def test_reading_gives_at_least_one_batch_and_then_up_to_a_size(
    storage: Storage, committer: LogCommitter
) -> None:
    run = await start(storage)
    for seq in range(3, 13):
        await committer.commit([text_batch(run, seq, "x" * 1000)])
    after = LogPosition(1, 2)
    assert [entry.seq for entry in await read(storage, run, after, 0)] == [3]
    assert [entry.seq for entry in await read(storage, run, after, 1)] == [3]
    assert [entry.seq for entry in await read(storage, run, after, 3300)] == [3, 4, 5]
    assert len(await read(storage, run, after)) == 10
    assert await read(storage, run, LogPosition(1, 12), 0) == []


async def test_a_log_of_many_batches_is_read_to_its_end_piece_by_piece(
    storage: Storage, committer: LogCommitter
) -> None:
    run = await start(storage)
    for seq in range(3, 603):
        await committer.commit([text_batch(run, seq, f"{seq}")])
    seqs: list[int] = []
    position = LogPosition()
    while entries := await read(storage, run, position):
        seqs += [entry.seq for entry in entries]
        position = LogPosition(entries[-1].attempt, entries[-1].seq)
    assert seqs == list(range(1, 603))


async def test_the_log_of_a_run_that_is_not_there_is_empty(storage: Storage) -> None:
    async with storage.read() as tx:
        assert list(await tx.runs.read_log("run_none", LogPosition(), ALL)) == []
