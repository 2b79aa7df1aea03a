"""Without its log, a server writes nothing for a run until its end, which passes the fence all the same."""

import asyncio
from collections.abc import Collection, Sequence

from benchmarks.unlogged import UnloggedCommitter
from chatter_grpc.core.runs.committer import CommitSettings
from chatter_grpc.core.runs.events import Batch, DeltaKind, RunCompleted
from chatter_grpc.core.runs.tail import Tail
from chatter_grpc.core.usage import Usage
from tests.support.waiting import until


class Log:
    def __init__(self) -> None:
        self.batches: list[Batch] = []

    async def commit(self, batches: Sequence[Batch]) -> Collection[str]:
        self.batches += batches
        return ()

    async def close(self) -> None:
        """Nothing to close."""


async def write(log: Log, *, rounds: int) -> Batch | None:
    """Write a run whose first two events are in the database, and withdraw it after so many commits."""
    committer = UnloggedCommitter(log, lambda _: None, CommitSettings(interval=0.001))
    at_work = asyncio.create_task(committer.run())
    tail = Tail("run", 1, (), 2)
    try:
        for _ in range(rounds):
            for _ in range(3):
                tail.append_delta("1.1", DeltaKind.TEXT, "message", "a")
            committer.note(tail)
            await until(lambda: tail.committed_seq == tail.last_seq)
        assert not log.batches
        tail.append("", RunCompleted((), Usage()))
        return await committer.withdraw(tail)
    finally:
        at_work.cancel()
        await asyncio.wait([at_work])


async def test_one_row_stands_for_all_that_was_not_written() -> None:
    log = Log()
    last = await write(log, rounds=2)
    assert last is not None
    assert [(batch.first_seq, batch.last_seq, batch.attempt) for batch in log.batches] == [(3, 8, 1)]
    assert last.first_seq == 9


async def test_a_run_that_ends_before_its_first_commit_needs_none() -> None:
    log = Log()
    last = await write(log, rounds=0)
    assert last is not None
    assert last.first_seq == 3
    assert not log.batches
