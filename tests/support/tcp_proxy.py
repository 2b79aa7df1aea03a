"""A TCP proxy that breaks connections: all at once when it is told to, or each after a number of bytes by chance."""

import asyncio
import random
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Any, Final

SECONDS: Final = 30.0
# The name of our own tasks.
OURS: Final = "carrying"


class TcpProxy:
    """A port that leads to a server's; it has a thread and a loop of its own, so that any test may use it."""

    def __init__(
        self,
        target: str,
        *,
        seed: int = 0,
        life: tuple[int, int] | None = None,
        asked: tuple[int, int] | None = None,
        share: float = 1.0,
        hangs_up: bool = True,
    ) -> None:
        """Take the target as ``host:port`` or a unix socket's path.

        ``life`` is how many bytes from the server a connection carries, ``asked`` how many to it; where both are given,
        one of them by chance. ``share`` is the share of connections for which that holds. One that does not hang up
        leaves connections open that the server ended, after its last words.
        """
        self.target = target
        self.life = life
        self.asked = asked
        self.share = share
        self.hangs_up = hangs_up
        self.connections = 0
        self.broken = 0
        self.chance = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._carrying: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._port = 0

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self._port}"

    def cut(self) -> None:
        """Break every connection."""
        self._run(self._cut())

    def refuse(self) -> None:
        """Break every connection, and take no others."""
        self._run(self._refuse())

    def mend(self, target: str = "") -> None:
        """Take connections again on the same port, to another server if one is named."""
        self.target = target or self.target
        self._run(self._listen())

    @contextmanager
    def running(self) -> Iterator["TcpProxy"]:
        """Carry connections while the block lasts."""
        thread = Thread(target=self._loop.run_forever, name="proxy")
        thread.start()
        self.mend()
        try:
            yield self
        finally:
            self._run(self._finish())
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        future: Future[None] = asyncio.run_coroutine_threadsafe(work, self._loop)
        future.result(SECONDS)

    async def _listen(self) -> None:
        if self._server is not None:
            return
        self._server = await asyncio.start_server(self._take, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _refuse(self) -> None:
        if self._server is not None:
            # A server that is closed leaves a connection open that it has just accepted: asyncio has a task for each
            # of those.
            while any(task.get_name() != OURS for task in asyncio.all_tasks() - {asyncio.current_task()}):  # noqa: ASYNC110
                await asyncio.sleep(0)
            self._server.close()
            self._server = None
        await self._cut()

    async def _finish(self) -> None:
        await self._refuse()
        # Connections are closed in the next pass of the loop.
        await asyncio.sleep(0)

    async def _cut(self) -> None:
        carrying = tuple(self._carrying)
        for task in carrying:
            task.cancel()
        if carrying:
            await asyncio.wait(carrying)

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._carry(reader, writer), name=OURS)
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)
        # Also that of a task which is cancelled before it begins.
        task.add_done_callback(lambda _: writer.transport.abort())

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_there: asyncio.StreamWriter | None = None
        try:
            there, to_there = await self._open()
            asked, life = self._lives()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(reader, to_there, asked), name=OURS)
                group.create_task(self._copy(there, writer, life, hangs_up=self.hangs_up), name=OURS)
        except (asyncio.CancelledError, OSError):
            # Broken, as it was to be, or nobody is there.
            return
        finally:
            if to_there is not None:
                to_there.transport.abort()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.target.startswith("/"):
            return await asyncio.open_unix_connection(self.target)
        host, _, port = self.target.rpartition(":")
        return await asyncio.open_connection(host, int(port))

    def _lives(self) -> tuple[int | None, int | None]:
        """Draw how many bytes a connection carries to the server, and from it."""
        if self.share < 1.0 and self.chance.random() >= self.share:
            return None, None
        if self.asked is not None and (self.life is None or self.chance.random() < 0.5):
            return self.chance.randint(*self.asked), None
        return None, None if self.life is None else self.chance.randint(*self.life)

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, life: int | None, *, hangs_up: bool = True
    ) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data if life is None else data[:life])
                await writer.drain()
                if life is not None and (life := life - len(data)) <= 0:
                    self.broken += 1
                    # What was written is to arrive before the connection breaks: a cut in the middle of a frame.
                    await asyncio.sleep(0.005)
                    break
        # The end of one direction is the end of both.
        if hangs_up:
            writer.transport.abort()
