"""A run that attempts on several servers write one after the other, and clients that follow it by cursors."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final

from chatter_client import Fold, fold
from chatter_grpc.adapters.memory.wakeups import MemoryWakeUps
from chatter_grpc.core.runs.events import AttemptStarted, Batch, Body, Deltas, Entry, RunStarted
from chatter_grpc.core.runs.reader import Chunk, Control, Readers, RunReader
from chatter_grpc.core.runs.run import LogPosition
from chatter_grpc.core.runs.tail import Tail
from tests.support.following import CURSORS, frame
from tests.support.random_logs import LogMaker
from tests.support.run_logs import MemoryLog

# The run is never at work on the last one.
SERVERS: Final = 3
# More often than that nobody has to look who misses nothing.
LOOKS: Final = 5_000


@dataclass(slots=True)
class TailMaker(LogMaker):
    """Writes to a tail once it has one; ``entries`` are then what it has written, committed or not."""

    tail: Tail | None = None

    def add(self, step_id: str, body: Body) -> None:
        LogMaker.add(self, step_id, body)
        if self.tail is None:
            return
        if isinstance(body, Deltas):
            for piece in body.pieces:
                self.tail.append_delta(step_id, body.kind, body.message_id, piece)
        else:
            self.tail.append(step_id, body)


@dataclass(slots=True)
class Server:
    """One replica, with the tail of the run where an attempt of it is, or was, at work here."""

    readers: Readers = field(init=False)
    tail: Tail | None = None

    def find(self, _: str) -> Tail | None:
        return self.tail


@dataclass(slots=True)
class Follower:
    """A client that goes from server to server, with nothing but its cursor and its fold.

    It holds a stream, or asks for pages of ``count`` events where that is given.
    """

    world: "World"
    server: int
    count: int = 0
    state: Fold = field(default_factory=Fold)
    cursor: str = ""
    reader: RunReader | None = None
    pending: "asyncio.Task[Any] | None" = None
    caught_up: int = 0
    written: LogPosition = field(default_factory=LogPosition)

    @property
    def over(self) -> bool:
        return self.state.end is not None and self.reader is None

    async def look(self) -> None:
        """Take the next frame or page, if there is one; begin a stream or a call where none is open."""
        if self.over:
            return
        if self.reader is None:
            await self._open()
        assert self.reader is not None
        if self.pending is None:
            work: Any = self.reader.page(self.count, 3600) if self.count else self.reader.next()
            self.pending = asyncio.create_task(work)
        for _ in range(8):
            await asyncio.sleep(0)
        if self.pending.done():
            found, self.pending = self.pending.result(), None
            await self._take(found)

    async def go(self, server: int) -> None:
        """Go to a server, with what is on the way to the client lost."""
        await self.leave()
        self.server = server

    async def leave(self) -> None:
        if self.pending is not None:
            self.pending.cancel()
            await asyncio.wait((self.pending,))
            self.pending = None
        if self.reader is not None:
            await self.reader.__aexit__(None, None, None)
            self.reader = None

    async def _open(self) -> None:
        position = LogPosition(*CURSORS.decode(self.cursor)) if self.cursor else LogPosition()
        readers = self.world.servers[self.server].readers
        self.reader = RunReader(readers, "run", position, complete=self.world.ended)
        await self.reader.__aenter__()
        self.caught_up = 0
        # What has lost its attempt without knowing may show that once more.
        self.written = LogPosition() if self.world.is_behind(self.server) else self.world.end

    async def _take(self, found: Any) -> None:
        if found is None:
            assert self.caught_up == 1, "a stream to the end has caught up exactly once"
            await self.leave()
            return
        chunk = found
        if self.count:
            control = Control.SNAPSHOT if found.snapshot else None
            chunk = Chunk(found.entries, found.position, control, found.snapshot)
        response = frame(chunk)
        self.state = fold(self.state, response)
        self.cursor = response.cursor
        if chunk.control is Control.CAUGHT_UP:
            self.caught_up += 1
            assert chunk.position >= self.written, "caught up with less than was written before the call"
        if self.count:
            await self.leave()


class World:
    """A run, the log that all servers share, and who follows it."""

    def __init__(self, kept: int) -> None:
        self.kept = kept
        self.ended = False
        self.log = MemoryLog()
        self.wakeups = MemoryWakeUps()
        self.servers = [Server() for _ in range(SERVERS)]
        for server in self.servers:
            server.readers = Readers(self.log.storage, self.wakeups, server.find, 3600)
        self.maker = TailMaker()
        self.maker.add("", RunStarted("run", "conv", "msg_0"))
        self.maker.add("", AttemptStarted())
        self.at_work = 0
        self._begin(0, tuple(self.maker.entries))
        self.followers = [Follower(self, number % SERVERS, count) for number, count in enumerate((0, 0, 0, 1, 2, 1000))]

    @property
    def end(self) -> LogPosition:
        """The end of what is committed."""
        last = self.log.entries("run")[-1]
        return LogPosition(last.attempt, last.seq)

    def is_behind(self, server: int) -> bool:
        """Whether a server has an attempt that is not the current one, and has not noticed."""
        tail = self.servers[server].tail
        return tail is not None and not tail.lost and tail.attempt < self.maker.attempt

    async def lose(self, server: int) -> None:
        """Have another attempt begin; what was not committed is in its log no more, but may have been read."""
        committed = self.log.entries("run")
        self.maker = TailMaker(committed, self.maker.attempt, made=self.maker.made)
        self.maker.begin_attempt()
        self.log.attempts["run"] = self.maker.attempt
        await self.notice(server)
        self._begin(server, tuple(self.maker.entries[-1:]))

    async def notice(self, server: int) -> None:
        """Have a server notice that it lost the run, if it did: its next commit tells it."""
        if not self.is_behind(server):
            return
        tail = self.servers[server].tail
        assert tail is not None
        batch = tail.take()
        if batch is not None:
            assert await self.log.commit([batch]) == ["run"]
        tail.mark_lost()

    async def forget(self, server: int) -> None:
        """Have a server forget the run, which is not at work there any more."""
        await self.notice(server)
        self.servers[server].tail = None

    async def commit(self) -> None:
        """Have the attempt at work commit what it has."""
        tail = self.maker.tail
        assert tail is not None
        batch = tail.take()
        if batch is not None:
            assert not await self.log.commit([batch])
            tail.mark_committed(batch, tail.size)
            self.wakeups.notify(("run",))

    async def conclude(self, how: str) -> None:
        """Have the run end."""
        self.maker.end(how)
        await self.commit()
        self.ended = True

    async def read_to_end(self) -> None:
        """Have everybody who follows the run come to its end."""
        for follower in self.followers:
            for _ in range(LOOKS):
                if follower.over:
                    break
                await follower.look()
            assert follower.over, f"nothing comes after {follower.state.seq} of attempt {follower.state.attempt}"

    def _begin(self, server: int, first: tuple[Entry, ...]) -> None:
        self.log.attempts["run"] = self.maker.attempt
        self.log.batches.setdefault("run", []).append(Batch("run", self.maker.attempt, first))
        self.at_work = server
        self.maker.tail = Tail("run", self.maker.attempt, first, first[-1].seq, self.kept)
        self.servers[server].tail = self.maker.tail
        self.wakeups.notify(("run",))
