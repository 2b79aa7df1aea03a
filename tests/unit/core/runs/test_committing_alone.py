"""A run that commits beside the group: one transaction of its own, in which no group has a part."""

import asyncio

import pytest

from chatter_grpc.core.runs.events import Batch, NodeFinished
from chatter_grpc.core.runs.run import LogPosition
from chatter_grpc.core.runs.writer import RunWriter
from tests.support.waiting import soon, until
from tests.unit.core.runs.test_committer import Group, committing, say


class Transaction:
    """What the run writes to; it holds the commit back until ``gate`` is set, and remembers what it was given."""

    def __init__(self, group: Group, *, holds: bool = True) -> None:
        self.gate = asyncio.Event()
        self.given: list[tuple[LogPosition, Batch | None]] = []
        self._group = group
        self._holds = holds

    async def write(self, after: LogPosition, batch: Batch | None) -> bool:
        self.given.append((after, batch))
        await self.gate.wait()
        if batch is not None and self._holds:
            self._group.log.batches.setdefault(batch.run_id, []).append(batch)
        return self._holds


async def begun(writer: RunWriter, transaction: Transaction) -> asyncio.Task[bool]:
    """Begin to commit with a step's end, and return when it is being written."""
    step = writer.open_step("a", "model")
    task = asyncio.create_task(writer.commit_alone(transaction.write, step))
    await until(lambda: bool(transaction.given))
    return task


async def test_the_end_of_a_step_is_in_the_batch_that_is_written_with_it() -> None:
    async with committing() as group:
        writer, transaction = group.writer("run"), Transaction(group)
        say(writer, "x")
        task = await begun(writer, transaction)
        tail = group.tails["run"]
        assert tail.visible_seq == tail.last_seq - 1, "what ends a step is not shown before it is committed"
        transaction.gate.set()
        assert await soon(task)
        ((after, batch),) = transaction.given
        assert batch is not None
        assert isinstance(batch.entries[-1].body, NodeFinished)
        assert after == LogPosition(1, batch.first_seq - 1)
        assert (tail.committed_seq, tail.visible_seq) == (tail.last_seq, tail.last_seq)
        assert group.notified[-1] == "run"


async def test_no_group_takes_what_is_added_meanwhile_and_one_does_afterwards() -> None:
    async with committing() as group:
        writer, other, transaction = group.writer("run"), group.writer("other"), Transaction(group)
        task = await begun(writer, transaction)
        say(writer, "meanwhile")
        say(other, "beside")
        await until(lambda: group.texts("other") == ["beside"])
        assert group.texts("run") == []
        transaction.gate.set()
        assert await soon(task)
        await until(lambda: group.texts("run") == ["meanwhile"])
        assert not group.tails["run"].lost


async def test_it_waits_for_a_group_that_has_events_of_the_run() -> None:
    async with committing() as group:
        writer, transaction = group.writer("run"), Transaction(group)
        transaction.gate.set()
        group.log.gate.clear()
        say(writer, "first")
        await until(lambda: "run" in group.committer._in_flight)
        task = asyncio.create_task(writer.commit_alone(transaction.write, writer.open_step("a", "model")))
        await asyncio.sleep(0.01)
        assert not transaction.given
        group.log.gate.set()
        assert await soon(task)
        ((after, _),) = transaction.given
        assert after == LogPosition(1, 1)


async def test_the_end_of_a_run_waits_for_it() -> None:
    async with committing() as group:
        writer, transaction = group.writer("run"), Transaction(group)
        task = await begun(writer, transaction)
        say(writer, "last")
        withdrawing = asyncio.create_task(group.committer.withdraw(group.tails["run"]))
        await asyncio.sleep(0.01)
        assert not withdrawing.done()
        transaction.gate.set()
        assert await soon(task)
        left = await soon(withdrawing)
        assert left is not None
        ((_, batch),) = transaction.given
        assert batch is not None
        assert left.first_seq == batch.last_seq + 1


async def test_with_nothing_new_there_is_the_fence_alone() -> None:
    async with committing() as group:
        writer, transaction = group.writer("run"), Transaction(group)
        transaction.gate.set()
        assert await writer.commit_alone(transaction.write)
        assert transaction.given == [(LogPosition(1, 0), None)]


async def test_a_lost_fence_loses_the_run_and_nothing_more_is_written() -> None:
    async with committing() as group:
        writer, transaction = group.writer("run"), Transaction(group, holds=False)
        task = await begun(writer, transaction)
        transaction.gate.set()
        assert not await soon(task)
        assert group.tails["run"].lost
        assert not await writer.commit_alone(transaction.write)
        assert len(transaction.given) == 1


async def test_a_fault_loses_the_run_and_is_raised() -> None:
    async def fail(after: LogPosition, batch: Batch | None) -> bool:
        raise ValueError("a fault of ours")

    async with committing() as group:
        writer = group.writer("run")
        with pytest.raises(ValueError, match="a fault of ours"):
            await writer.commit_alone(fail)
        assert group.tails["run"].lost


async def test_who_waits_for_room_goes_on_when_it_is_committed() -> None:
    async with committing() as group:
        writer, transaction = group.writer("run"), Transaction(group)
        say(writer, "x" * (group.committer.settings.max_size + 1))
        task = await begun(writer, transaction)
        room = asyncio.create_task(writer.room())
        await asyncio.sleep(0.01)
        assert not room.done()
        transaction.gate.set()
        await soon(room)
        assert await soon(task)
