"""The group committer: writes the events of all runs of this process to the database, behind their delivery."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

from chatter_grpc.core.errors import StorageUnavailable
from chatter_grpc.core.observation import UNOBSERVED, Observer
from chatter_grpc.core.runs.events import Batch
from chatter_grpc.core.runs.patience import PATIENT, Patience
from chatter_grpc.core.runs.run import LogCommitter
from chatter_grpc.core.runs.tail import Tail

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitSettings:
    """How far delivery may run ahead of durability.

    ``interval`` is the time between commits, ``max_age`` and ``max_size`` bound what one run has uncommitted before its
    provider is not read further, ``give_up_after`` is how long the database may be away before runs are lost,
    ``retry_pause`` how long to wait before it is tried again. Times are in seconds.
    """

    interval: float = 0.05
    max_age: float = 1.0
    max_size: int = 256 * 1024
    give_up_after: float = PATIENT.give_up_after
    retry_pause: float = PATIENT.pause

    @property
    def patience(self) -> Patience:
        """The same for whoever commits a run's events by itself."""
        return Patience(give_up_after=self.give_up_after, pause=self.retry_pause)


class GroupCommitter:
    """Gathers what the tails of this process hold and commits it for all of them at once.

    ``notify`` is called with the ids of the runs that have new committed events.
    """

    def __init__(
        self,
        log: LogCommitter,
        notify: Callable[[Collection[str]], None],
        settings: CommitSettings,
        observer: Observer = UNOBSERVED,
    ) -> None:
        self._log = log
        self._notify = notify
        self.settings = settings
        self._observer = observer
        self._dirty: dict[str, Tail] = {}
        self._work = asyncio.Event()
        self._committed = asyncio.Event()
        self._in_flight: frozenset[str] = frozenset()
        self._alone: set[str] = set()

    def note(self, tail: Tail) -> None:
        """Have a tail's events committed with the next group; called when the first of them has been added."""
        if tail.lost:
            # It has none, and another attempt at the same run may be in this process.
            return
        tail.dirty = True
        tail.oldest_uncommitted = time.monotonic()
        self._dirty[tail.run_id] = tail
        self._work.set()

    def is_behind(self, tail: Tail) -> bool:
        """Whether a run has so much uncommitted that it must not write on."""
        if tail.uncommitted_size > self.settings.max_size:
            return True
        oldest = tail.oldest_uncommitted
        return oldest is not None and time.monotonic() - oldest > self.settings.max_age

    async def room(self, tail: Tail) -> None:
        """Wait until a run may write on, or is lost."""
        while self.is_behind(tail) and not tail.lost:
            self._work.set()
            await self._committed.wait()

    async def withdraw(self, tail: Tail) -> Batch | None:
        """Take a run out of the group and return what is left to commit, for a transaction of its own.

        Returns ``None`` where nothing is left, or the run is lost.
        """
        # First of all, so that no group takes the run's last event while a group before it is in flight.
        self._leave_group(tail)
        await self._wait_idle(tail)
        return tail.take()

    async def commit_alone(
        self, tail: Tail, finish: Callable[[], None], write: Callable[[Batch | None], Awaitable[bool]]
    ) -> bool:
        """Commit all that a run has in a transaction of its own, with what ``write`` has to store beside it.

        ``finish`` may add the events that must not be committed without that; no group takes them, nor anything of the
        run while this lasts. ``write`` is given the events, ``None`` where there are none, and returns whether the
        attempt still held the run. Where it did not, or where ``write`` raises, the run is lost here. One at a time.
        """
        await self._wait_idle(tail)
        if tail.lost:
            return False
        began = time.monotonic()
        # From here to the batch nothing is awaited: what is added now is in this batch, and in no group's.
        finish()
        self._alone.add(tail.run_id)
        self._leave_group(tail)
        batch, size = tail.take(), tail.size
        held = False
        try:
            held = await write(batch)
        finally:
            self._alone.discard(tail.run_id)
            if not held:
                tail.mark_lost()
            else:
                if not tail.dirty:
                    tail.oldest_uncommitted = None
                if batch is not None:
                    tail.mark_committed(batch, size)
            if self._dirty:
                self._work.set()
            self._wake_waiting()
        if held and batch is not None:
            self._observer.committed(1, len(batch.entries), time.monotonic() - began)
            self._notify([tail.run_id])
        return held

    def _leave_group(self, tail: Tail) -> None:
        if self._dirty.get(tail.run_id) is tail:
            del self._dirty[tail.run_id]
        tail.dirty = False

    async def _wait_idle(self, tail: Tail) -> None:
        """Wait until nothing of a run is being committed."""
        while tail.run_id in self._in_flight or tail.run_id in self._alone:
            await self._committed.wait()

    def _wake_waiting(self) -> None:
        committed, self._committed = self._committed, asyncio.Event()
        committed.set()

    async def run(self) -> None:
        """Commit groups until cancelled. Cancel it after all runs have ended: what a run left is lost."""
        while True:
            await self._work.wait()
            await asyncio.sleep(self.settings.interval)
            await self._commit()

    async def _commit(self) -> None:
        self._work.clear()
        group: list[tuple[Tail, Batch, int]] = []
        kept: dict[str, Tail] = {}
        for tail in self._dirty.values():
            if tail.run_id in self._alone:
                kept[tail.run_id] = tail
                continue
            tail.dirty = False
            batch = tail.take()
            if batch is not None:
                group.append((tail, batch, tail.size))
        self._dirty = kept
        if not group:
            return
        self._in_flight = frozenset(tail.run_id for tail, _, _ in group)
        # Until it is known that they are committed they are not; a log with a gap must never be written on.
        losers: Collection[str] = self._in_flight
        began = time.monotonic()
        try:
            losers = await self._write([batch for _, batch, _ in group])
        finally:
            for tail, batch, size in group:
                if tail.run_id in losers:
                    tail.mark_lost()
                else:
                    if not tail.dirty:
                        tail.oldest_uncommitted = None
                    tail.mark_committed(batch, size)
            self._in_flight = frozenset()
            self._wake_waiting()
        events = sum(len(batch.entries) for _, batch, _ in group)
        self._observer.committed(len(group), events, time.monotonic() - began)
        self._notify([tail.run_id for tail, _, _ in group])

    async def _write(self, batches: Sequence[Batch]) -> Collection[str]:
        """Commit batches, trying again while the database is away, and return the ids of the runs that are lost."""
        try:
            async with asyncio.timeout(self.settings.give_up_after):
                return await self._write_patiently(batches)
        except TimeoutError:
            _log.error("run_log_lost", extra={"runs": len(batches)})
            return [batch.run_id for batch in batches]

    async def _write_patiently(self, batches: Sequence[Batch]) -> Collection[str]:
        while True:
            try:
                return await self._log.commit(batches)
            except StorageUnavailable:
                await asyncio.sleep(self.settings.retry_pause)
            except Exception:  # noqa: BLE001
                _log.exception("run_log_fault", extra={"runs": len(batches)})
                if len(batches) == 1:
                    return [batches[0].run_id]
                break
        # A fault of ours in one run's batch must cost no other run its log.
        lost: list[str] = []
        for batch in batches:
            lost.extend(await self._write_patiently([batch]))
        return lost
