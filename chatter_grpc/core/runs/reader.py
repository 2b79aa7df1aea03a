"""Readers of runs: each holds a cursor and nothing else, and is served from memory where it can be."""

import asyncio
import time
from collections.abc import Callable
from enum import StrEnum
from types import TracebackType
from typing import Final, NamedTuple, Self

from chatter_grpc.core.errors import ChatterError
from chatter_grpc.core.runs.events import TERMINAL, Entry
from chatter_grpc.core.runs.run import LogPosition
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


class Chunk(NamedTuple):
    """What gathered since the chunk before: events, the position after them, and possibly a control behind them."""

    entries: tuple[Entry, ...]
    position: LogPosition
    control: Control | None = None


class Page(NamedTuple):
    """Events, the position after them, whether this server stops, and whether nothing more is to come."""

    entries: tuple[Entry, ...]
    position: LogPosition
    handed_off: bool
    finished: bool


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
        self._spoke_at = time.monotonic()
        self._unsubscribe: Callable[[], None] = lambda: None

    async def __aenter__(self) -> Self:
        self._unsubscribe = self._readers.wakeups.subscribe(self.run_id, self.wake)
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

    def fail(self, error: ChatterError) -> None:
        """Have the reader end with an error, because its caller is no longer to be trusted."""
        self._failure = error
        self.wake()

    async def next(self) -> Chunk | None:
        """Return the next chunk as soon as there is one, ``None`` after the run's last event or a hand-off.

        Raises what ``fail`` was given, and ``StorageUnavailable``.
        """
        while not self._ended:
            chunk = await self._look(None)
            if chunk.entries or chunk.control is not None:
                self._spoke_at = time.monotonic()
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
                if chunk.entries or self._ended or loop.time() >= over:
                    return Page(chunk.entries, chunk.position, handed_off, self._ended and not handed_off)
                await self._wait()
        finally:
            timer.cancel()

    async def _look(self, count: int | None) -> Chunk:
        """Return what there is now, up to ``count`` events where that is given: possibly nothing."""
        if self._failure is not None:
            raise self._failure
        self._news = False
        entries, at_end = await self._read()
        if count is not None:
            entries = first_events(entries, count)
        if entries:
            last = entries[-1]
            self.position = LogPosition(last.attempt, last.seq)
            self._ended = isinstance(last.body, TERMINAL)
        elif self._complete:
            self._ended = True
        return Chunk(entries, self.position, self._control(at_end=at_end, silent=not entries))

    def _control(self, *, at_end: bool, silent: bool) -> Control | None:
        if (at_end or self._ended) and not self._caught_up:
            self._caught_up = True
            return Control.CAUGHT_UP
        here = self._tail is not None and not self._tail.lost
        if not self._ended and (self._readers.stopping or (self._readers.leaving and not here)):
            self._ended = True
            return Control.HAND_OFF
        if silent and time.monotonic() - self._spoke_at >= self._readers.heartbeat:
            return Control.HEARTBEAT
        return None

    async def _read(self) -> tuple[tuple[Entry, ...], bool]:
        """Return what comes after the position, and whether that is known to be all that there is."""
        tail = self._live_tail()
        if tail is not None:
            entries = tail.read(self.position, FRAME_SIZE)
            if entries is not None:
                return entries, not entries or entries[-1].seq >= tail.visible_seq
        async with self._readers.storage.read() as tx:
            found = await tx.runs.read_log(self.run_id, self.position, FRAME_SIZE)
        # A single batch may be larger than a frame.
        return fitting(found, FRAME_SIZE), not found

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
