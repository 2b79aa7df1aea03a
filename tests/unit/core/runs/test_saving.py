"""An attempt's way to its checkpoints: patient while the database is away, in order, and over when it is closed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any, cast

import pytest

from chatter_grpc.core.conversations import ModelSettings
from chatter_grpc.core.errors import RunInterrupted, StorageUnavailable
from chatter_grpc.core.runs.checkpoints import CheckpointStore
from chatter_grpc.core.runs.committer import CommitSettings, GroupCommitter
from chatter_grpc.core.runs.events import Batch
from chatter_grpc.core.runs.run import LogPosition
from chatter_grpc.core.runs.saving import AttemptCheckpoints
from chatter_grpc.core.runs.tail import Tail
from chatter_grpc.core.runs.writer import RunWriter
from chatter_grpc.core.storage import Storage
from tests.support.attempts import new_work
from tests.support.run_logs import MemoryLog
from tests.support.waiting import soon, until

PATIENT = CommitSettings(retry_pause=0.001)
HASTY = CommitSettings(retry_pause=0.001, give_up_after=0.01)


class Away:
    """A database whose first transactions fail before they are opened, and whose later ones wait for ``gate``."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.gate = asyncio.Event()
        self.gate.set()
        self.opened = 0
        self.appended: list[tuple[LogPosition, Batch | None, bool]] = []
        self.saved: list[str] = []

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Any]:
        self.opened += 1
        if self.opened <= self.failures:
            raise StorageUnavailable
        await self.gate.wait()
        yield SimpleNamespace(runs=self, checkpoints=self)

    write = read

    async def append(self, run_id: str, after: LogPosition, batch: Batch | None, *, progress: bool) -> bool:
        self.appended.append((after, batch, progress))
        return True


def checkpoints_on(storage: Away, settings: CommitSettings = PATIENT) -> tuple[AttemptCheckpoints, RunWriter, Tail]:
    tail = Tail("run", 1, (), 0)
    committer = GroupCommitter(MemoryLog(), lambda run_ids: None, settings)
    writer = RunWriter(tail, committer)
    run = new_work(ModelSettings()).run
    return AttemptCheckpoints(cast(Storage, storage), run, writer, committer), writer, tail


def saving(storage: Away, what: str = "x") -> Callable[[CheckpointStore], Any]:
    async def save(store: CheckpointStore) -> None:
        storage.saved.append(what)

    return save


async def test_a_database_that_comes_back_is_waited_for() -> None:
    storage = Away(failures=3)
    checkpoints, writer, tail = checkpoints_on(storage)
    await soon(checkpoints.write(saving(storage), writer.open_step("a", "model")))
    ((_, batch, progress),) = storage.appended
    assert (storage.saved, progress, tail.lost) == (["x"], True, False)
    assert batch is not None
    assert tail.committed_seq == batch.last_seq


async def test_a_checkpoint_between_steps_is_no_progress() -> None:
    storage = Away()
    checkpoints, _, _ = checkpoints_on(storage)
    await checkpoints.write(saving(storage))
    assert storage.appended == [(LogPosition(1, 0), None, False)]


async def test_a_database_that_stays_away_costs_the_attempt_its_run() -> None:
    storage = Away(failures=1 << 30)
    checkpoints, _, tail = checkpoints_on(storage, HASTY)
    with pytest.raises(RunInterrupted):
        await soon(checkpoints.write(saving(storage)))
    assert tail.lost


async def test_reading_is_as_patient() -> None:
    async def load(store: CheckpointStore) -> str:
        return "found"

    checkpoints, _, _ = checkpoints_on(Away(failures=3))
    assert await soon(checkpoints.read(load)) == "found"
    checkpoints, _, tail = checkpoints_on(Away(failures=1 << 30), HASTY)
    with pytest.raises(StorageUnavailable):
        await soon(checkpoints.read(load))
    assert not tail.lost


async def test_what_is_written_first_is_durable_first() -> None:
    storage = Away()
    checkpoints, _, _ = checkpoints_on(storage)
    storage.gate.clear()
    tasks = [asyncio.create_task(checkpoints.write(saving(storage, str(number)))) for number in range(5)]
    await until(lambda: storage.opened == 1)
    storage.gate.set()
    await soon(asyncio.gather(*tasks))
    assert storage.saved == ["0", "1", "2", "3", "4"]


async def test_closing_breaks_off_what_hangs_and_nothing_is_written_afterwards() -> None:
    storage = Away()
    checkpoints, _, tail = checkpoints_on(storage)
    storage.gate.clear()
    hanging = asyncio.create_task(checkpoints.write(saving(storage)))
    await until(lambda: storage.opened == 1)
    await soon(checkpoints.close())
    with suppress(asyncio.CancelledError):
        await hanging
    assert hanging.cancelled()
    assert tail.lost, "nobody knows whether it was written"
    storage.gate.set()
    with pytest.raises(RunInterrupted):
        await checkpoints.write(saving(storage))
    assert storage.saved == []
