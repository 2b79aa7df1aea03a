"""The end of one run's log in memory: what is not committed yet, and a stretch of what is."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Final

from chatter_grpc.core.runs.events import BARRIERS, TERMINAL, Batch, Body, DeltaKind, Deltas, Entry
from chatter_grpc.core.runs.run import LogPosition

# An event's share of the sizes below, beside its text: numbers, ids, time.
EVENT_SIZE: Final = 24
# So many committed events' sizes stay in memory for readers that are a little late; later ones read the database.
KEPT_SIZE: Final = 64 * 1024
# Entries whose deltas go on in the next one are kept as one, up to a share of all that is kept, and to a time between
# them in microseconds: every reader that is late walks through what is kept, and so does the garbage collector.
JOINED_SHARE: Final = 8
JOINED_US: Final = 1_000_000


class Tail:
    """Numbers a run's events, holds them until they are committed, and shows them to the readers of this process.

    One attempt writes, one committer takes batches, any number of readers look. Sizes are in characters of text plus
    ``EVENT_SIZE`` for each event. Nothing at or behind an uncommitted barrier is shown, and nothing is added behind the
    run's last event. Of what is committed, so much as has the size ``kept`` stays. ``on_lost`` is called once, when the
    attempt turns out to have lost the run. ``held_until`` is how long it holds it for certain unless its lease is
    renewed, by the monotonic clock in seconds: from then on nothing is shown, since another attempt may be at work.
    """

    __slots__ = (
        "_barriers",
        "_committed",
        "_entries",
        "_growing",
        "_joined",
        "_joined_size",
        "_kept",
        "_kept_size",
        "_taken_seq",
        "_watchers",
        "attempt",
        "closed",
        "committed_seq",
        "committed_size",
        "dirty",
        "ended",
        "held_until",
        "last_seq",
        "lost",
        "oldest_uncommitted",
        "on_lost",
        "run_id",
        "size",
    )

    def __init__(
        self, run_id: str, attempt: int, committed: Sequence[Entry], committed_seq: int, kept: int = KEPT_SIZE
    ) -> None:
        self.run_id = run_id
        self.attempt = attempt
        self.last_seq = committed_seq
        self.committed_seq = committed_seq
        self.size = 0
        self.committed_size = 0
        self.closed = False
        self.ended = False
        self.held_until = math.inf
        self.lost = False
        self.dirty = False
        self.oldest_uncommitted: float | None = None
        self.on_lost: Callable[[], None] | None = None
        # What is not committed, and before it what is and stays for a while.
        self._entries: deque[Entry] = deque()
        self._committed: deque[Entry] = deque(committed)
        # The deltas of the last one that is committed, where it was joined, and its size.
        self._joined: list[str] | None = None
        self._joined_size = kept
        self._growing: list[str] | None = None
        self._barriers: deque[int] = deque()
        self._taken_seq = committed_seq
        self._kept = kept
        self._kept_size = sum(map(_size_of, committed))
        self._watchers: dict[object, Callable[[], None]] = {}

    @property
    def visible_seq(self) -> int:
        """The number of the last event that readers may see."""
        return self._barriers[0] - 1 if self._barriers else self.last_seq

    @property
    def uncommitted_size(self) -> int:
        """The size of all events that are not committed."""
        return self.size - self.committed_size

    def append(self, step_id: str, body: Body) -> int:
        """Add an event (not a delta) and return the log's last number."""
        if self.closed:
            return self.last_seq
        self._growing = None
        seq = self.last_seq + 1
        self._entries.append(Entry(seq, self.attempt, step_id, time.time_ns() // 1000, body))
        if isinstance(body, BARRIERS):
            self._barriers.append(seq)
            self.closed = isinstance(body, TERMINAL)
        self._grow(seq, EVENT_SIZE)
        return seq

    def append_delta(self, step_id: str, kind: DeltaKind, message_id: str, text: str) -> None:
        """Add one delta; it joins the entry before it where that is of the same kind, message, step and batch."""
        if self.closed:
            return
        growing = self._growing
        if growing is not None:
            last = self._entries[-1]
            body = last.body
            # Only an entry of deltas is ever left growing.
            if body.message_id == message_id and body.kind is kind and last.step_id == step_id:  # type: ignore[union-attr]
                growing.append(text)
                self._grow(self.last_seq + 1, len(text) + EVENT_SIZE)
                return
        pieces = [text]
        self._growing = pieces
        seq = self.last_seq + 1
        self._entries.append(
            Entry(seq, self.attempt, step_id, time.time_ns() // 1000, Deltas(kind, message_id, pieces))
        )
        self._grow(seq, len(text) + EVENT_SIZE)

    def _grow(self, seq: int, size: int) -> None:
        self.last_seq = seq
        self.size += size
        if self._watchers and not self._barriers:
            self.wake()

    def read(self, after: LogPosition, max_size: int) -> tuple[Entry, ...] | None:
        """Return visible entries after a position, at least one delta if there is one and up to a size.

        Returns ``None`` where they are not all here: the position lies before what is kept in memory, another attempt
        wrote it, or the run is lost.
        """
        if self.lapse() or after.attempt > self.attempt or (after.attempt < self.attempt and after.attempt != 0):
            return None
        visible = self.visible_seq
        seq = after.seq
        if seq >= visible:
            return ()
        oldest = self._committed or self._entries
        if not oldest or seq < oldest[0].first_seq - 1:
            return None
        found: list[Entry] = []
        for entry in chain(reversed(self._entries), reversed(self._committed)):
            if entry.seq <= seq:
                break
            found.append(entry)
        shown = (_between(entry, seq, visible) for entry in reversed(found) if entry.first_seq <= visible)
        return fitting(shown, max_size)

    def take(self) -> Batch | None:
        """Return everything that no batch before held, to be committed; ``None`` where there is nothing."""
        if self.last_seq == self._taken_seq:
            return None
        self._growing = None
        entries: deque[Entry] = deque()
        for entry in reversed(self._entries):
            if entry.seq <= self._taken_seq:
                break
            entries.appendleft(entry)
        self._taken_seq = self.last_seq
        return Batch(self.run_id, self.attempt, tuple(entries))

    def mark_committed(self, batch: Batch, size: int) -> None:
        """Note that a batch is durable (``size`` is ``self.size`` as it was when the batch was taken)."""
        self.committed_seq = batch.last_seq
        self._kept_size += size - self.committed_size
        self.committed_size = size
        shows_more = False
        while self._barriers and self._barriers[0] <= batch.last_seq:
            self._barriers.popleft()
            shows_more = True
        if isinstance(batch.entries[-1].body, TERMINAL):
            self.ended = True
        while self._entries and self._entries[0].seq <= self.committed_seq:
            self._keep(self._entries.popleft())
        committed = self._committed
        while self._kept_size > self._kept and len(committed) + len(self._entries) > 1 and committed:
            self._kept_size -= _size_of(committed.popleft())
        if shows_more:
            self.wake()

    def _keep(self, entry: Entry) -> None:
        """Keep what is committed, joined with what came just before it where that goes on."""
        before = self._committed[-1] if self._committed else None
        if (
            before is None
            or self._joined_size >= self._kept // JOINED_SHARE
            or entry.time_us - before.time_us >= JOINED_US
            or not entry.continues(before)
        ):
            self._committed.append(entry)
            self._joined, self._joined_size = None, _size_of(entry)
            return
        # Deltas alone continue each other.
        body: Deltas = entry.body  # type: ignore[assignment]
        if self._joined is None:
            earlier: Deltas = before.body  # type: ignore[assignment]
            # Batches, which a committer may still hold, keep the lists that they have.
            self._joined = list(earlier.pieces)
            self._committed[-1] = before._replace(body=earlier._replace(pieces=self._joined))
        self._joined.extend(body.pieces)
        self._joined_size += _size_of(entry)

    def lapse(self) -> bool:
        """Note that this attempt lost the run where it no longer holds it for certain; return whether it is lost."""
        # What has ended stays what it is, and nobody takes it.
        if not self.lost and not self.ended and time.monotonic() >= self.held_until:
            self.mark_lost()
        return self.lost

    def mark_lost(self) -> None:
        """Note that this attempt no longer holds the run: what is left is dropped, readers go to the database."""
        if self.lost:
            return
        self.lost = self.closed = True
        self._entries.clear()
        self._committed.clear()
        self._barriers.clear()
        self._growing = None
        self._taken_seq = self.last_seq
        self.wake()
        if self.on_lost is not None:
            self.on_lost()

    def watch(self, watcher: object, wake: Callable[[], None]) -> None:
        """Call ``wake`` after each change that readers may see, until ``unwatch``."""
        self._watchers[watcher] = wake

    def unwatch(self, watcher: object) -> None:
        """Stop calling a watcher."""
        self._watchers.pop(watcher, None)

    def wake(self) -> None:
        """Call all watchers."""
        for wake in self._watchers.values():
            wake()


def fitting(entries: Iterable[Entry], max_size: int) -> tuple[Entry, ...]:
    """Return the first of consecutive entries up to a size, the last one cut to its deltas that fit; at least one."""
    chosen: list[Entry] = []
    room = max_size
    for entry in entries:
        if chosen and room <= 0:
            break
        whole = _size_of(entry)
        if whole > room:
            chosen.append(_fit(entry, room))
            break
        chosen.append(entry)
        room -= whole
    return tuple(chosen)


def _between(entry: Entry, after: int, last: int) -> Entry:
    """Return the part of an entry with numbers after ``after`` and up to ``last``, as a value that no longer grows."""
    body = entry.body
    if not isinstance(body, Deltas):
        return entry
    first = max(entry.first_seq, after + 1)
    pieces = body.pieces[first - entry.first_seq : last - entry.first_seq + 1]
    return Entry(first, entry.attempt, entry.step_id, entry.time_us, Deltas(body.kind, body.message_id, pieces))


def _fit(entry: Entry, room: int) -> Entry:
    """Return as many of an entry's deltas as have room, but at least one."""
    body = entry.body
    if not isinstance(body, Deltas):
        return entry
    count = 0
    for piece in body.pieces:
        room -= len(piece) + EVENT_SIZE
        if room < 0 and count:
            break
        count += 1
    return _between(entry, entry.first_seq - 1, entry.first_seq + count - 1)


def _size_of(entry: Entry) -> int:
    body = entry.body
    if isinstance(body, Deltas):
        return sum(map(len, body.pieces)) + EVENT_SIZE * len(body.pieces)
    return EVENT_SIZE
