"""The group committer: what it gathers, how it waits out a database that is away, and whom a fault costs what."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

import pytest

from chatter_grpc.core.errors import StorageUnavailable
from chatter_grpc.core.runs.committer import CommitSettings, GroupCommitter
from chatter_grpc.core.runs.events import Batch, DeltaKind, Deltas, NodeStarted, RunCompleted
from chatter_grpc.core.runs.tail import Tail
from chatter_grpc.core.runs.writer import RunWriter
from chatter_grpc.core.usage import Usage
from tests.support.run_logs import MemoryLog, singles
from tests.support.waiting import soon, until

FAST = CommitSettings(interval=0, retry_pause=0)


class Group:
    """A committer at work on a log in memory, with the runs that write through it."""

    def __init__(self, settings: CommitSettings) -> None:
        self.log = MemoryLog()
        self.notified: list[str] = []
        self.committer = GroupCommitter(self.log, self._notify, settings)
        self.tails: dict[str, Tail] = {}

    def _notify(self, run_ids: Collection[str]) -> None:
        self.notified += run_ids

    def writer(self, run_id: str) -> RunWriter:
        self.tails[run_id] = Tail(run_id, 1, (), 0)
        return RunWriter(self.tails[run_id], self.committer)

    def texts(self, run_id: str) -> list[str]:
        return [
            what[2]
            for *_, what in singles(self.log.entries(run_id))
            if isinstance(what, tuple) and not isinstance(what, Deltas)
        ]


def say(writer: RunWriter, *pieces: str) -> None:
    for piece in pieces:
        writer.append_delta("1.1", DeltaKind.TEXT, "m", piece)


@asynccontextmanager
async def committing(settings: CommitSettings = FAST) -> AsyncIterator[Group]:
    group = Group(settings)
    task = asyncio.create_task(group.committer.run())
    try:
        yield group
    finally:
        task.cancel()
        await asyncio.wait((task,))
        assert task.cancelled(), "the committer must not end by itself"


async def test_what_gathered_of_several_runs_is_one_commit() -> None:
    async with committing() as group:
        one, two = group.writer("one"), group.writer("two")
        say(one, "a")
        say(two, "b")
        say(one, "c")
        await until(lambda: len(group.notified) == 2)
        assert group.log.commits == [("one", "two")]
        assert (group.texts("one"), group.texts("two")) == (["a", "c"], ["b"])
        assert sorted(group.notified) == ["one", "two"]


async def test_an_attempt_that_lost_its_run_leaves_the_next_one_in_the_same_process_alone() -> None:
    async with committing(CommitSettings(interval=0.01, retry_pause=0)) as group:
        old = group.writer("run")
        say(old, "old")
        lost = group.tails["run"]
        lost.mark_lost()
        new = group.writer("run")
        say(new, "a")
        say(old, "old")
        assert await group.committer.withdraw(lost) is None
        await until(lambda: group.texts("run") == ["a"])
        say(new, "b")
        await until(lambda: group.texts("run") == ["a", "b"])


async def test_what_comes_while_a_commit_is_in_flight_is_in_the_next() -> None:
    async with committing() as group:
        writer = group.writer("run")
        group.log.gate.clear()
        say(writer, "a")
        await until(lambda: len(group.log.commits) == 1)
        say(writer, "b")
        group.log.gate.set()
        await until(lambda: len(group.notified) == 2)
        assert group.texts("run") == ["a", "b"]
        assert group.tails["run"].oldest_uncommitted is None


async def test_a_database_that_comes_back_loses_nothing() -> None:
    async with committing() as group:
        writer = group.writer("run")
        group.log.away = True
        say(writer, "a")
        await until(lambda: len(group.log.commits) > 2)
        say(writer, "b")
        group.log.away = False
        await until(lambda: group.tails["run"].uncommitted_size == 0)
        assert group.texts("run") == ["a", "b"]
        assert not group.tails["run"].lost


async def test_a_commit_whose_answer_was_lost_is_written_once() -> None:
    async with committing() as group:
        writer = group.writer("run")
        group.log.faults, group.log.written = [StorageUnavailable(), StorageUnavailable()], True
        say(writer, "a")
        await until(lambda: group.tails["run"].uncommitted_size == 0)
        assert len(group.log.commits) == 3
        assert group.texts("run") == ["a"]


@pytest.mark.parametrize("hanging", [False, True], ids=["refusing", "hanging"])
async def test_runs_are_lost_when_the_database_stays_away(hanging: bool) -> None:
    async with committing(CommitSettings(interval=0, retry_pause=0.001, give_up_after=0.01)) as group:
        writer = group.writer("run")
        group.log.away = not hanging
        if hanging:
            group.log.gate.clear()
        lost = asyncio.Event()
        group.tails["run"].on_lost = lost.set
        say(writer, "a")
        await soon(lost.wait())
        group.log.away = False
        group.log.gate.set()
        say(writer, "b")
        other = group.writer("other")
        say(other, "c")
        await until(lambda: "other" in group.notified)
        assert group.texts("other") == ["c"], "those that come later are not touched"
        assert group.texts("run") == [], "a log with a gap is never written on"


async def test_a_run_that_lost_its_fence_stops_and_the_others_go_on() -> None:
    async with committing() as group:
        mine, other = group.writer("mine"), group.writer("other")
        group.log.attempts["mine"] = 2
        say(mine, "a")
        say(other, "b")
        await until(lambda: group.tails["mine"].lost)
        say(mine, "c")
        say(other, "d")
        await until(lambda: group.texts("other") == ["b", "d"])
        assert group.texts("mine") == []
        assert not group.tails["other"].lost


class _Poison(MemoryLog):
    """A log whose encoding fails on one run's batch, as it would on half a surrogate pair."""

    async def commit(self, batches: Sequence[Batch]) -> Collection[str]:
        if any(batch.run_id == "poison" for batch in batches):
            raise ValueError("cannot be encoded")
        return await MemoryLog.commit(self, batches)


async def test_a_batch_that_cannot_be_written_costs_its_own_run_alone() -> None:
    async with committing() as group:
        group.log = _Poison()
        group.committer._log = group.log
        first, bad, last = group.writer("first"), group.writer("poison"), group.writer("last")
        for writer in (first, bad, last):
            say(writer, "a")
        await until(lambda: len(group.notified) == 3)
        assert group.tails["poison"].lost
        assert not group.tails["first"].lost
        assert (group.texts("first"), group.texts("last")) == (["a"], ["a"])


async def test_a_run_with_too_much_uncommitted_waits_for_the_commit() -> None:
    async with committing(CommitSettings(interval=0, max_size=100)) as group:
        writer = group.writer("run")
        group.log.gate.clear()
        await writer.room()
        say(writer, "a" * 200)
        waiting = asyncio.ensure_future(writer.room())
        await until(lambda: bool(group.log.commits))
        assert not waiting.done()
        group.log.gate.set()
        await soon(waiting)
        assert not group.committer.is_behind(group.tails["run"])


async def test_a_run_whose_events_are_uncommitted_for_too_long_waits() -> None:
    async with committing(CommitSettings(interval=0, max_age=0.001)) as group:
        writer = group.writer("run")
        group.log.gate.clear()
        say(writer, "a")
        await until(lambda: group.committer.is_behind(group.tails["run"]))
        waiting = asyncio.ensure_future(writer.room())
        await until(lambda: bool(group.log.commits))
        group.log.gate.set()
        await soon(waiting)


async def test_a_run_that_is_lost_waits_no_longer() -> None:
    async with committing(CommitSettings(interval=0, max_size=10)) as group:
        writer = group.writer("run")
        group.log.attempts["run"] = 2
        say(writer, "a" * 100)
        await soon(writer.room())
        assert group.tails["run"].lost


async def test_a_run_that_is_withdrawn_leaves_its_last_event_to_its_own_transaction() -> None:
    async with committing() as group:
        writer, tail = group.writer("run"), group.tails["run"]
        group.log.gate.clear()
        say(writer, "a")
        await until(lambda: bool(group.log.commits))
        say(writer, "b")
        tail.append("", RunCompleted((), Usage()))
        withdrawn = asyncio.ensure_future(group.committer.withdraw(tail))
        other = group.writer("other")
        say(other, "c")
        group.log.gate.set()
        batch = await withdrawn
        await until(lambda: group.texts("other") == ["c"])
        assert batch is not None
        assert group.texts("run") == ["a"]
        assert [entry.seq for entry in batch.entries] == [2, 3]


async def test_nothing_is_left_to_a_run_that_is_lost_while_it_is_withdrawn() -> None:
    async with committing() as group:
        writer, tail = group.writer("run"), group.tails["run"]
        group.log.gate.clear()
        group.log.attempts["run"] = 2
        say(writer, "a")
        await until(lambda: bool(group.log.commits))
        tail.append("", RunCompleted((), Usage()))
        withdrawn = asyncio.ensure_future(group.committer.withdraw(tail))
        await asyncio.sleep(0)
        group.log.gate.set()
        assert await withdrawn is None


async def test_a_committer_that_is_stopped_in_mid_commit_leaves_no_run_that_could_write_on() -> None:
    async with committing() as group:
        writer, tail = group.writer("run"), group.tails["run"]
        group.log.gate.clear()
        say(writer, "a")
        await until(lambda: bool(group.log.commits))
    assert tail.lost
    assert await group.committer.withdraw(tail) is None


async def test_an_event_makes_a_run_part_of_the_next_group_again() -> None:
    async with committing() as group:
        writer = group.writer("run")
        for number in range(3):
            writer.append("1.1", NodeStarted(str(number), "model"))
            await until(lambda: group.tails["run"].uncommitted_size == 0)
        assert [entry.seq for entry in group.log.entries("run")] == [1, 2, 3]
