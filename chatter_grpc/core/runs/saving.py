"""Reads checkpoints and makes them durable: an attempt's together with the events before them, behind its fence."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol, TypeVar

from chatter_grpc.core.errors import RunInterrupted, StorageUnavailable
from chatter_grpc.core.runs.checkpoints import CheckpointStore
from chatter_grpc.core.runs.committer import GroupCommitter
from chatter_grpc.core.runs.events import Batch
from chatter_grpc.core.runs.run import LogPosition, Run
from chatter_grpc.core.runs.writer import RunWriter, StepWriter
from chatter_grpc.core.storage import Storage

Result = TypeVar("Result")
# Reads or writes the store of the transaction that it is given. It may be called again, in another one.
Use = Callable[[CheckpointStore], Awaitable[Result]]

_log = logging.getLogger(__name__)


class Checkpoints(Protocol):
    """Gives an engine the store of checkpoints, a transaction at a time."""

    async def read(self, load: Use[Result]) -> Result:
        """Return what ``load`` returns; raises ``StorageUnavailable``."""
        ...

    async def write(self, save: Use[None], step: StepWriter | None = None) -> None:
        """Save in a transaction of its own, which finishes ``step`` too where one is given; raises where it does not.

        What is written first is durable first.
        """
        ...


class AttemptCheckpoints:
    """``Checkpoints`` of an attempt, whose transactions hold its events up to now, what is saved, and the fence.

    While the database is away it is tried again, as long as the group committer tries. What cannot be written loses
    the run to this attempt, and raises ``RunInterrupted``.
    """

    def __init__(self, storage: Storage, run: Run, writer: RunWriter, committer: GroupCommitter) -> None:
        self._storage = storage
        self._run = run
        self._writer = writer
        self._committer = committer
        self._turn = asyncio.Lock()
        self._writing: set[asyncio.Task[object]] = set()
        self._closed = False

    async def read(self, load: Use[Result]) -> Result:
        """See ``Checkpoints``."""

        async def read(_again: bool) -> Result:
            async with self._storage.read() as tx:
                return await load(tx.checkpoints)

        return await self._committer.settings.patience.insist(read)

    async def write(self, save: Use[None], step: StepWriter | None = None) -> None:
        """See ``Checkpoints``."""
        task = asyncio.current_task()
        assert task is not None
        self._writing.add(task)
        try:
            # The lock is fair: whoever asks first writes first.
            async with self._turn:
                patient = partial(self._patiently, save, step is not None)
                if self._closed or not await self._writer.commit_alone(patient, step):
                    raise RunInterrupted(run_id=self._run.id)
        finally:
            self._writing.discard(task)

    async def close(self) -> None:
        """Write nothing more: what is still being written is broken off, and loses the run."""
        self._closed = True
        # An engine that is cancelled twice leaves them behind.
        left = tuple(self._writing)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)

    async def _patiently(self, save: Use[None], progress: bool, after: LogPosition, batch: Batch | None) -> bool:
        try:
            return await self._committer.settings.patience.insist(
                lambda again: self._write(save, progress, after, batch, unsure=again)
            )
        except StorageUnavailable:
            _log.error("checkpoint_lost", extra={"run_id": self._run.id, "attempt": after.attempt})
            return False

    async def _write(
        self, save: Use[None], progress: bool, after: LogPosition, batch: Batch | None, *, unsure: bool
    ) -> bool:
        async with self._storage.write() as tx:
            if await tx.runs.append(self._run.id, after, batch, progress=progress):
                await save(tx.checkpoints)
                return True
            if not unsure or batch is None:
                return False
            # A commit whose answer was lost has written all of it, what was saved too.
            now = await tx.runs.get(self._run.owner_id, self._run.id)
            return now.state.active and (now.attempt, now.last_seq) == (batch.attempt, batch.last_seq)


class Checkpointing:
    """How the attempts of a process keep checkpoints."""

    def __init__(self, storage: Storage, committer: GroupCommitter) -> None:
        self._storage = storage
        self._committer = committer

    def of(self, run: Run, writer: RunWriter) -> AttemptCheckpoints:
        """Return the checkpoints of the attempt that ``writer`` writes; whoever has them closes them."""
        return AttemptCheckpoints(self._storage, run, writer, self._committer)
