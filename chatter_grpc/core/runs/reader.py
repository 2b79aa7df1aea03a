"""Readers of runs: each holds a cursor and nothing else, and is served from memory where it can be."""

import asyncio
import time
from collections.abc import Callable
from enum import StrEnum
from types import TracebackType
from typing import Final, NamedTuple, Self

from chatter_grpc.core.errors import ChatterError, CursorExpired, RunNotFound
from chatter_grpc.core.runs.catching_up import FAR_BEHIND, TURN_SIZE, Line
from chatter_grpc.core.runs.events import TERMINAL, Entry
from chatter_grpc.core.runs.log_reading import CATCHING_UP, FOLLOWING, PAGING, LogReading
from chatter_grpc.core.runs.run import LogPosition
from chatter_grpc.core.runs.run_logs import SNAPSHOT, LogPart, LogPlace
from chatter_grpc.core.runs.tail import Tail, fitting
from chatter_grpc.core.runs.wakeups import WakeUps
from chatter_grpc.core.storage import Storage

HEARTBEAT_SECONDS: Final = 15.0
# A frame's bound, in characters; a client takes 4 MiB by default.
FRAME_SIZE: Final = 128 * 1024


class Control(StrEnum):
    """What a stream says of itself, outside the log."""

    HEARTBEAT = "heartbeat"
    CAUGHT_UP = "caught_up"
    HAND_OFF = "hand_off"
    SNAPSHOT = "snapshot"


class Chunk(NamedTuple):
    """What gathered since the chunk before: events, the position after them, and possibly a control behind them.

    One that begins a snapshot has no events; ``snapshot`` is then the number of the last event that it stands for.
    """

    entries: tuple[Entry, ...]
    position: LogPosition
    control: Control | None = None
    snapshot: int = 0


class Page(NamedTuple):
    """Events, the position after them, whether this server stops, and whether nothing more is to come.

    One that begins a snapshot has no events; ``snapshot`` is then the number of the last event that it stands for.
    """

    entries: tuple[Entry, ...]
    position: LogPosition
    handed_off: bool
    finished: bool
    snapshot: int = 0


class Readers:
    """All readers of this process; ``tail`` gives the live tail of a run that is at work here.

    ``heartbeat`` is in seconds: after so much silence a reader says that it is alive.
    """

    def __init__(
        self,
        storage: Storage,
        wakeups: WakeUps,
        tail: Callable[[str], Tail | None],
        heartbeat: float = HEARTBEAT_SECONDS,
    ) -> None:
        self.storage = storage
        self.wakeups = wakeups
        self.tail = tail
        self.heartbeat = heartbeat
        self.leaving = False
        self.stopping = False
        self.open: set[RunReader] = set()
        self.log = LogReading(storage)
        self.behind = Line()

    def hand_off_elsewhere(self) -> None:
        """End the readers of runs that are not at work here, because this server is about to stop."""
        self.leaving = True
        for reader in self.open:
            reader.wake()

    def hand_off(self) -> None:
        """End all readers, those that come later too, with their cursors, because this server stops."""
        self.stopping = True
        for reader in self.open:
            reader.wake()

    async def close(self) -> None:
        """End what still reads the database; no reader is of use any more."""
        await self.log.close()


class RunReader:
    """Reads one run from a position to its end, within ``async with``.

    Nothing is queued for it: ``next`` looks at the log as it is. Between calls it holds no database session.
    ``complete`` says that the run has ended already: a position behind its last event is then the end of the stream.
    """

    def __init__(self, readers: Readers, run_id: str, position: LogPosition, *, complete: bool = False) -> None:
        self.run_id = run_id
        self.position = position
        self._complete = complete
        self._readers = readers
        self._tail: Tail | None = None
        self._caught_up = False
        self._ended = False
        self._failure: ChatterError | None = None
        self._wanted: asyncio.Future[None] | None = None
        self._news = True
        # Whether the last look found all that there is: of a run at work here, all that its tail shows.
        self._at_end = False
        self._far_behind = False
        self._spoke_at = time.monotonic()
        self._unsubscribe: Callable[[], None] = lambda: None

    async def __aenter__(self) -> Self:
        self._unsubscribe = self._readers.wakeups.subscribe(self.run_id, self._hear)
        self._readers.open.add(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._readers.open.discard(self)
        self._unsubscribe()
        self._follow(None)

    def wake(self) -> None:
        """Have the reader look again."""
        self._news = True
        wanted = self._wanted
        if wanted is not None and not wanted.done():
            wanted.set_result(None)

    def _hear(self) -> None:
        """Take a wake-up; whoever has seen all that a tail shows is told by the tail itself of more, and only once."""
        if not self._at_end or self._tail is None or self._tail.lapse() or self._is_silent():
            self.wake()

    def fail(self, error: ChatterError) -> None:
        """Have the reader end with an error, because its caller is no longer to be trusted."""
        self._failure = error
        self.wake()

    async def next(self) -> Chunk | None:
        """Return the next chunk as soon as there is one, ``None`` after the run's last event or a hand-off.

        Raises what ``fail`` was given, ``StorageUnavailable``, and where the run was purged ``CursorExpired``, or
        ``RunNotFound`` to a reader that never read any of it.
        """
        while not self._ended:
            if self._news or not self._at_end or self._is_silent():
                chunk = await self._look(None)
                # Behind a control another may be due.
                self._news |= chunk.control is not None
                if chunk.entries or chunk.control is not None:
                    return chunk
            await self._wait()
        return None

    async def page(self, count: int, wait: float) -> Page:
        """Return up to ``count`` events as soon as there are some, none after ``wait`` seconds or a hand-off.

        Adjacent deltas that make one event count as one. Raises as ``next`` does.
        """
        # A page says by itself whether there is more; a server that stops is told of at once.
        self._caught_up = True
        loop = asyncio.get_running_loop()
        over = loop.time() + wait
        timer = loop.call_at(over, self.wake)
        try:
            while True:
                chunk = await self._look(count)
                handed_off = chunk.control is Control.HAND_OFF
                if chunk.entries or chunk.snapshot or self._ended or loop.time() >= over:
                    finished = self._ended and not handed_off
                    return Page(chunk.entries, chunk.position, handed_off, finished, chunk.snapshot)
                await self._wait()
        finally:
            timer.cancel()

    async def _look(self, count: int | None) -> Chunk:
        """Return what there is now, up to ``count`` events where that is given: possibly nothing."""
        if self._failure is not None:
            raise self._failure
        self._news = False
        part, at_end = await self._read(paging=count is not None)
        entries = tuple(part.entries)
        if count is not None:
            entries = first_events(entries, count)
        snapshot = 0
        if entries:
            last = entries[-1]
            self._ended = isinstance(last.body, TERMINAL)
            # The last event is no part of the snapshot before it.
            in_snapshot = part.compacted is not None and not self._ended
            self.position = LogPosition(SNAPSHOT if in_snapshot else last.attempt, last.seq)
        elif part.compacted is not None:
            snapshot = part.compacted
            self.position = LogPosition(SNAPSHOT, 0)
        elif await self._is_there():
            self._ended = self._complete
        control = Control.SNAPSHOT if snapshot else self._control(at_end=at_end, silent=not entries)
        if entries or control is not None:
            self._spoke_at = time.monotonic()
        return Chunk(entries, self.position, control, snapshot)

    async def _is_there(self) -> bool:
        """Whether the run is there, of which nothing was found: looked up only where it is worth a question.

        Raises ``CursorExpired`` or ``RunNotFound`` where it was purged.
        """
        unread = self.position == LogPosition()
        if self._tail is not None or not (self._complete or unread or self._is_silent()):
            return True
        async with self._readers.storage.read() as tx:
            if await tx.run_logs.exists(self.run_id):
                return True
        raise RunNotFound(run_id=self.run_id) if unread else CursorExpired(run_id=self.run_id)

    def _is_silent(self) -> bool:
        return time.monotonic() - self._spoke_at >= self._readers.heartbeat

    def _control(self, *, at_end: bool, silent: bool) -> Control | None:
        if (at_end or self._ended) and not self._caught_up:
            self._caught_up = True
            return Control.CAUGHT_UP
        here = self._tail is not None and not self._tail.lost
        if not self._ended and (self._readers.stopping or (self._readers.leaving and not here)):
            self._ended = True
            return Control.HAND_OFF
        if silent and self._is_silent():
            return Control.HEARTBEAT
        return None

    async def _read(self, *, paging: bool) -> tuple[LogPart, bool]:
        """Return what comes after the position, and whether that is known to be all that there is."""
        tail = self._live_tail()
        size = FRAME_SIZE
        if tail is not None and tail.visible_seq - self.position.seq > FAR_BEHIND:
            self._far_behind = True
            await self._readers.behind.turn()
            # It may have lost the run meanwhile.
            tail, size = self._live_tail(), FRAME_SIZE if paging else TURN_SIZE
        if tail is not None:
            entries = tail.read(self.position, size)
            if entries is not None:
                self._at_end = not entries or entries[-1].seq >= tail.visible_seq
                self._far_behind = False
                return LogPart(entries), self._at_end
        self._at_end = False
        pace = PAGING if paging else CATCHING_UP if self._far_behind else FOLLOWING
        part = await self._readers.log.read(LogPlace(self.run_id, self.position), pace)
        self._far_behind = part.more
        # A single batch may be larger than a frame.
        entries = fitting(part.entries, FRAME_SIZE)
        whole = not part.more and (not entries or entries[-1].seq == part.entries[-1].seq)
        # Whoever was behind what the tail keeps goes on there; who has not caught up yet looks once more to say so.
        self._at_end = whole and tail is None and self._caught_up
        return LogPart(entries, part.compacted), not entries

    def _live_tail(self) -> Tail | None:
        # The tail of a run that has just ended may not know it yet; its log does.
        if self._complete:
            return None
        if self._tail is None or self._tail.lost:
            self._follow(self._readers.tail(self.run_id))
        return self._tail

    def _follow(self, tail: Tail | None) -> None:
        if self._tail is not None:
            self._tail.unwatch(self)
        self._tail = tail
        if tail is not None:
            tail.watch(self, self.wake)

    async def _wait(self) -> None:
        """Wait for news; the wake-ups' tick bounds it."""
        if self._news:
            return
        self._wanted = asyncio.get_running_loop().create_future()
        try:
            await self._wanted
        finally:
            self._wanted = None


def first_events(entries: tuple[Entry, ...], count: int) -> tuple[Entry, ...]:
    """Return the first entries, as many as make ``count`` events where adjacent deltas are merged."""
    events = 0
    for place, entry in enumerate(entries):
        events += not (place and entry.continues(entries[place - 1]))
        if events > count:
            return entries[:place]
    return entries
