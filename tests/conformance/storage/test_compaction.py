"""What a store of logs guarantees of compaction, and of those who read on from anywhere."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import HealthCheck, given, settings

from chatter_grpc.core.runs.compaction import PORTION, compact, compact_log
from chatter_grpc.core.runs.events import Batch, Deltas, Entry
from chatter_grpc.core.runs.run import LogCommitter, LogPosition, Run
from chatter_grpc.core.runs.run_logs import SNAPSHOT, Compaction, LogPart, LogPlace
from chatter_grpc.core.storage import Storage
from tests.support.random_logs import LOGS, log_of
from tests.support.records import (
    an_end,
    batch_of,
    deltas_of,
    finish_run,
    first_batch,
    last_batch,
    start_run,
    store_conversation,
)
from tests.support.taking import take_lost

BEGINNING = LogPosition()
IN_SNAPSHOT = LogPosition(SNAPSHOT, 0)
ALL = 1 << 30


async def ended_run(storage: Storage, committer: LogCommitter, *texts: str) -> Run:
    """Return a run that said this and completed."""
    run = await start_run(storage, await store_conversation(storage), lease=600)
    seq = 3
    for text in texts:
        assert await committer.commit([batch_of(run, seq, [deltas_of(text)])]) == []
        seq += 1
    assert await finish_run(storage, run, last=last_batch(run, seq))
    return run


async def log_in(storage: Storage, committer: LogCommitter, entries: Sequence[Entry]) -> Run:
    """Store the log of an ended run, batch by batch, as its attempts wrote it."""
    run = await start_run(storage, await store_conversation(storage), lease=-1)
    for entry in entries[2:-1]:
        if entry.attempt > run.attempt:
            # The store itself announces an attempt, with this very event.
            (taken,) = await take_lost(storage, 1, lease=-1)
            run = taken.run
            assert taken.first.first_seq == entry.first_seq
            continue
        assert await committer.commit([Batch(run.id, entry.attempt, (entry,))]) == []
    async with storage.write() as tx:
        assert await tx.runs.finish(an_end(), Batch(run.id, run.attempt, tuple(entries[-1:])))
    return run


async def compacted(storage: Storage, run: Run) -> Compaction | None:
    async with storage.write() as tx:
        return await compact_log(tx, run.id)


async def read(storage: Storage, run: Run, after: LogPosition = BEGINNING, most: int = ALL) -> LogPart:
    async with storage.read() as tx:
        (part,) = await tx.run_logs.read_many([LogPlace(run.id, after)], most)
        return part


async def read_all(storage: Storage, run: Run, after: LogPosition, most: int = ALL) -> list[Entry]:
    """Read on from a position as a reader does, in a snapshot too."""
    found: list[Entry] = []
    while (part := await read(storage, run, after, most)).entries:
        found += part.entries
        last = found[-1]
        ended = part.compacted is not None and last.seq > part.compacted
        after = LogPosition(last.attempt if part.compacted is None or ended else SNAPSHOT, last.seq)
    return found


async def test_a_log_that_is_not_compacted_is_read_as_it_is(storage: Storage, committer: LogCommitter) -> None:
    run = await ended_run(storage, committer, "a", "b")
    part = await read(storage, run)
    assert (part.compacted, [entry.seq for entry in part.entries]) == (None, [1, 2, 3, 4, 5])
    assert await read(storage, run, LogPosition(1, 5)) == LogPart([])


async def test_of_a_compacted_log_there_is_the_snapshot_and_the_last_event(
    storage: Storage, committer: LogCommitter
) -> None:
    entries = log_of([("say", 0, "one"), ("say", 0, "two"), ("end_step", 0, "")], "completed")
    run = await log_in(storage, committer, entries)
    before = await read_all(storage, run, BEGINNING)
    assert await compacted(storage, run) is not None
    assert tuple(await read_all(storage, run, IN_SNAPSHOT)) == compact(before)
    assert (await read(storage, run, IN_SNAPSHOT)).compacted == before[-1].seq - 1


async def test_a_position_in_what_was_compacted_means_nothing_any_more(
    storage: Storage, committer: LogCommitter
) -> None:
    run = await ended_run(storage, committer, *"abcd")
    await compacted(storage, run)
    for seq in range(6):
        assert await read(storage, run, LogPosition(1, seq)) == LogPart([], 6)
    assert await read(storage, run) == LogPart([], 6), "nor does the beginning"


async def test_a_position_at_the_end_of_what_was_compacted_goes_on_with_the_last_event(
    storage: Storage, committer: LogCommitter
) -> None:
    run = await ended_run(storage, committer, *"abcd")
    await compacted(storage, run)
    assert await read(storage, run, LogPosition(1, 6)) == LogPart(list(last_batch(run, 7).entries), 6)
    assert await read(storage, run, LogPosition(1, 7)) == LogPart([])


async def test_a_position_of_an_older_attempt_means_nothing_after_compaction(
    storage: Storage, committer: LogCommitter
) -> None:
    entries = log_of([("say", 0, "x"), ("attempt", 0, ""), ("say", 0, "y")], "completed")
    run = await log_in(storage, committer, entries)
    await compacted(storage, run)
    for seq in (1, entries[-1].seq - 1, 10_000):
        part = await read(storage, run, LogPosition(1, seq))
        assert part == LogPart([], entries[-1].seq - 1)


async def test_a_snapshot_can_be_cut_at_any_number(storage: Storage, committer: LogCommitter) -> None:
    maker = [("say", 0, "a" * 9), ("finish", 0, ""), ("say", 0, "b"), ("end_step", 0, ""), ("attempt", 0, "")]
    run = await log_in(storage, committer, log_of([*maker, *maker[:-1]], "completed"))
    await compacted(storage, run)
    *snapshot, last = await read_all(storage, run, IN_SNAPSHOT)
    for seq in range(snapshot[-1].seq + 1):
        expected = [entry.after(seq) for entry in snapshot if entry.seq > seq]
        assert await read_all(storage, run, LogPosition(SNAPSHOT, seq), most=1) == [*expected, last]


async def test_a_long_answer_is_kept_in_portions(storage: Storage, committer: LogCommitter) -> None:
    text = "\N{GRINNING FACE}x" * 250_000
    entries = log_of([("step", 0, ""), ("start", 0, ""), ("say", 0, "x"), ("end_step", 0, "")], "completed")
    long = [replace_text(entry, text) for entry in entries]
    run = await log_in(storage, committer, renumbered(long))
    sizes = await compacted(storage, run)
    assert sizes is not None
    assert 0.9 < sizes.bytes_after / sizes.bytes_before < 1.1
    found: list[str] = []
    position = IN_SNAPSHOT
    while entries_now := (await read(storage, run, position, PORTION)).entries:
        pieces = [piece for entry in entries_now if isinstance(entry.body, Deltas) for piece in entry.body.pieces]
        assert sum(map(len, pieces)) <= PORTION
        found += pieces
        position = LogPosition(SNAPSHOT, entries_now[-1].seq)
        if entries_now[-1].seq == run_end(long):
            break
    assert "".join(found) == text


def replace_text(entry: Entry, text: str) -> Entry:
    if isinstance(entry.body, Deltas):
        pieces = tuple(text[start : start + 60_000] for start in range(0, len(text), 60_000))
        return entry._replace(body=Deltas(entry.body.kind, entry.body.message_id, pieces))
    return entry


def renumbered(entries: Sequence[Entry]) -> list[Entry]:
    found: list[Entry] = []
    for entry in entries:
        found.append(entry._replace(first_seq=found[-1].seq + 1 if found else 1))
    return found


def run_end(entries: Sequence[Entry]) -> int:
    return renumbered(entries)[-1].seq


async def test_compaction_says_what_it_saved(storage: Storage, committer: LogCommitter) -> None:
    entries = log_of([("say", 0, "x") for _ in range(50)], "completed")
    run = await log_in(storage, committer, entries)
    sizes = await compacted(storage, run)
    assert sizes is not None
    assert sizes.bytes_before > 2 * sizes.bytes_after > 0


async def test_a_log_is_compacted_once(storage: Storage, committer: LogCommitter) -> None:
    run = await ended_run(storage, committer, "a")
    assert await compacted(storage, run) is not None
    before = await read_all(storage, run, IN_SNAPSHOT)
    assert await compacted(storage, run) is None
    assert await read_all(storage, run, IN_SNAPSHOT) == before


async def test_the_log_of_an_active_run_is_left_alone(storage: Storage, committer: LogCommitter) -> None:
    run = await start_run(storage, await store_conversation(storage), lease=600)
    assert await compacted(storage, run) is None
    assert await read(storage, run) == LogPart(list(first_batch(run).entries))
    assert await committer.commit([batch_of(run, 3, [deltas_of("goes on")])]) == []
    assert await finish_run(storage, run, last=last_batch(run, 4))
    assert await compacted(storage, run) is not None


async def test_a_run_that_is_not_there_has_no_log(storage: Storage, committer: LogCommitter) -> None:
    run = await ended_run(storage, committer)
    nobody = replace(run, id="run_none")
    assert await compacted(storage, nobody) is None
    assert await read(storage, nobody) == LogPart([])
    async with storage.read() as tx:
        assert not await tx.run_logs.exists("run_none")
        assert await tx.run_logs.exists(run.id)


async def test_other_logs_are_left_alone(storage: Storage, committer: LogCommitter) -> None:
    run, other = await ended_run(storage, committer, "a"), await ended_run(storage, committer, "b")
    before = await read_all(storage, other, BEGINNING)
    await compacted(storage, run)
    assert await read_all(storage, other, BEGINNING) == before


async def test_a_compaction_that_is_rolled_back_leaves_the_log_as_it_was(
    storage: Storage, committer: LogCommitter
) -> None:
    run = await ended_run(storage, committer, *"abc")
    before = await read(storage, run)

    class Undone(Exception):
        pass

    try:
        async with storage.write() as tx:
            assert await compact_log(tx, run.id) is not None
            raise Undone
    except Undone:
        pass
    assert await read(storage, run) == before
    assert await compacted(storage, run) is not None


async def test_two_that_compact_at_once_do_it_once(storage: Storage, committer: LogCommitter) -> None:
    run = await ended_run(storage, committer, *"abc")
    sizes = await asyncio.gather(*(compacted(storage, run) for _ in range(3)))
    assert sum(each is not None for each in sizes) == 1
    assert len(await read_all(storage, run, IN_SNAPSHOT)) == 3


async def test_who_reads_while_it_is_compacted_finds_one_log_or_the_other(
    storage: Storage, committer: LogCommitter
) -> None:
    run = await ended_run(storage, committer, *"abcdefgh")
    whole = await read(storage, run)
    seen: list[LogPart] = []

    async def look() -> None:
        while not seen or seen[-1].compacted is None:
            seen.append(await read(storage, run))

    async with asyncio.timeout(60):
        await asyncio.gather(look(), look(), compacted(storage, run))
    assert all(part in (whole, LogPart([], 10)) for part in seen)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=LOGS)
async def test_any_log_is_compacted_to_what_it_amounts_to(
    storage: Storage, committer: LogCommitter, entries: tuple[Entry, ...]
) -> None:
    run = await log_in(storage, committer, entries)
    whole = await read_all(storage, run, BEGINNING)
    await compacted(storage, run)
    assert tuple(await read_all(storage, run, IN_SNAPSHOT, most=1)) == compact(whole)
