"""Logs of runs in memory, with the faults that a database may have, for tests of what stands above them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

from chatter_grpc.core.errors import StorageUnavailable
from chatter_grpc.core.runs.compaction import compact
from chatter_grpc.core.runs.events import Batch, Body, DeltaKind, Deltas, Entry
from chatter_grpc.core.runs.run import LogPosition
from chatter_grpc.core.runs.run_logs import SNAPSHOT, LogPart, LogPlace
from chatter_grpc.core.storage import Storage

Single = tuple[int, int, str, Body | tuple[DeltaKind, str, str]]


def singles(entries: Iterable[Entry]) -> list[Single]:
    """Return the events of entries one by one: number, attempt, step, and what happened."""
    found: list[Single] = []
    for entry in entries:
        body = entry.body
        if isinstance(body, Deltas):
            found += [
                (entry.first_seq + place, entry.attempt, entry.step_id, (body.kind, body.message_id, piece))
                for place, piece in enumerate(body.pieces)
            ]
        else:
            found.append((entry.seq, entry.attempt, entry.step_id, body))
    return found


@dataclass(slots=True)
class MemoryLog:
    """Implements ``LogCommitter`` and what readers ask of ``Storage``.

    ``faults`` are raised by the next commits, one each; ``written`` says that those write before they raise. While
    ``away`` is set every call is refused. ``gate`` holds commits back while it is not set, ``answer`` what reads found.
    ``queries`` are the places of each read, and the log of the run ``unreadable`` is broken. ``at_answer`` is called
    before each read is answered, and may raise.
    """

    attempts: dict[str, int] = field(default_factory=dict)
    batches: dict[str, list[Batch]] = field(default_factory=dict)
    faults: list[Exception] = field(default_factory=list)
    written: bool = False
    away: bool = False
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    answer: asyncio.Event = field(default_factory=asyncio.Event)
    commits: list[tuple[str, ...]] = field(default_factory=list)
    queries: list[tuple[LogPlace, ...]] = field(default_factory=list)
    open_reads: int = 0
    compacted: dict[str, tuple[Entry, ...]] = field(default_factory=dict)
    unreadable: str | None = None
    at_answer: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.gate.set()
        self.answer.set()

    @property
    def storage(self) -> Storage:
        """The log as readers see it."""
        return cast("Storage", self)

    @property
    def runs(self) -> "MemoryLog":
        """The log as a transaction's store."""
        return self

    @property
    def run_logs(self) -> "MemoryParts":
        """The log as a transaction's store for readers."""
        return MemoryParts(self)

    @asynccontextmanager
    async def read(self) -> AsyncIterator["MemoryLog"]:
        """Open a transaction."""
        self.check()
        self.open_reads += 1
        try:
            yield self
        finally:
            self.open_reads -= 1

    async def commit(self, batches: Sequence[Batch]) -> Collection[str]:
        """See ``LogCommitter``."""
        self.commits.append(tuple(batch.run_id for batch in batches))
        await self.gate.wait()
        self.check()
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None and not self.written:
            raise fault
        lost = [batch.run_id for batch in batches if not self._append(batch)]
        if fault is not None:
            raise fault
        return lost

    async def close(self) -> None:
        """See ``LogCommitter``."""

    @property
    def reads(self) -> int:
        """How many queries there were."""
        return len(self.queries)

    def after(self, run_id: str, after: LogPosition, max_bytes: int) -> tuple[list[Entry], bool]:
        """Return the entries after a position in a log as it was written, and whether there are more."""
        found: list[Entry] = []
        for batch in sorted(self.batches.get(run_id, ()), key=lambda batch: (batch.attempt, batch.last_seq)):
            if (batch.attempt, batch.last_seq) <= (after.attempt, after.seq):
                continue
            if found and sum(len(str(entry.body)) for entry in found) > max_bytes:
                return found, True
            cut = after.seq if batch.attempt == after.attempt else 0
            found += [entry.after(cut) for entry in batch.entries if entry.seq > cut]
        return found, False

    def compact(self, run_id: str) -> None:
        """Put what an ended run's log is compacted to in its place."""
        self.compacted[run_id] = compact(self.entries(run_id))

    def purge(self, run_id: str) -> None:
        """Remove a run's log."""
        self.compacted.pop(run_id, None)
        self.batches.pop(run_id, None)

    def entries(self, run_id: str) -> list[Entry]:
        """Return all that is committed of a run."""
        return [entry for batch in self.batches.get(run_id, ()) for entry in batch.entries]

    def _append(self, batch: Batch) -> bool:
        held = self.batches.setdefault(batch.run_id, [])
        if batch in held:
            return True
        if self.attempts.get(batch.run_id, batch.attempt) != batch.attempt:
            return False
        if held and batch.first_seq != held[-1].last_seq + 1:
            return False
        held.append(batch)
        return True

    def check(self) -> None:
        """Raise ``StorageUnavailable`` while the database is away."""
        if self.away:
            raise StorageUnavailable


@dataclass(frozen=True, slots=True)
class MemoryParts:
    """Implements what readers ask of ``RunLogStore``."""

    log: MemoryLog

    async def read_many(self, places: Sequence[LogPlace], max_bytes: int) -> Sequence[LogPart]:
        """See ``RunLogStore``."""
        await asyncio.sleep(0)
        self.log.check()
        self.log.queries.append(tuple(places))
        if self.log.unreadable is not None and any(place.run_id == self.log.unreadable for place in places):
            raise ValueError("unreadable")
        found = [self._part(place.run_id, place.after, max_bytes) for place in places]
        await asyncio.sleep(0)
        await self.log.answer.wait()
        self.log.at_answer()
        return found

    def _part(self, run_id: str, after: LogPosition, max_bytes: int) -> LogPart:
        found = self.log.compacted.get(run_id)
        if found is None:
            entries, more = self.log.after(run_id, after, max_bytes)
            return LogPart(entries, None, more)
        *snapshot, last = found
        compacted = last.seq - 1
        if after.attempt == SNAPSHOT:
            rest = [entry.after(after.seq) for entry in snapshot if entry.seq > after.seq]
            return LogPart([*rest, last], compacted)
        if after.attempt == last.attempt and after.seq >= compacted:
            return LogPart([last], compacted) if after.seq == compacted else LogPart(())
        return LogPart((), compacted)

    async def exists(self, run_id: str) -> bool:
        """See ``RunLogStore``."""
        self.log.check()
        return run_id in self.log.batches
