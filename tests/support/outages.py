"""Databases that go away: a PostgreSQL server that is stopped and started, and a line to one that is cut."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Final
from urllib.parse import parse_qs, quote, urlsplit

from tests.support.databases import PostgresDatabases, postgres_server
from tests.support.start_postgres import start_postgres

SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPostgres:
    """A PostgreSQL server of one test's own, with a database on it."""

    directory: Path
    url: str

    def stop(self) -> None:
        """Stop the server; it ends its clients' connections."""
        pid_file = self.directory / "postmaster.pid"
        os.kill(int(pid_file.read_text().splitlines()[0]), signal.SIGINT)
        give_up_at = time.monotonic() + SECONDS
        while pid_file.exists():
            assert time.monotonic() < give_up_at, "PostgreSQL does not stop"
            time.sleep(0.02)

    def start(self) -> None:
        """Start it again, on the same data and the same socket."""
        start_postgres(self.directory)


@contextmanager
def own_postgres() -> Iterator[OwnPostgres]:
    """Run a server with a migrated database; it is started again at the end where it was left stopped."""
    with postgres_server() as directory, PostgresDatabases(directory).fresh() as url:
        postgres = OwnPostgres(directory=directory, url=url)
        try:
            yield postgres
        finally:
            if not (directory / "postmaster.pid").exists():
                postgres.start()


class Line:
    """A TCP port that leads to a PostgreSQL server's socket, until it is cut."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._carrying: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self.port = 0

    def cut(self) -> None:
        """End all connections, and take no others."""
        self._run(self._cut())

    def mend(self) -> None:
        """Take connections again, on the same port."""
        self._run(self._listen())

    @contextmanager
    def running(self) -> Iterator["Line"]:
        """Have a thread carry the line."""
        thread = Thread(target=self._loop.run_forever, name="line")
        thread.start()
        self.mend()
        try:
            yield self
        finally:
            self.cut()
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()

    def _run(self, work: object) -> None:
        future: Future[None] = asyncio.run_coroutine_threadsafe(work, self._loop)  # type: ignore[arg-type]
        future.result(SECONDS)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        carrying = tuple(self._carrying)
        for task in carrying:
            task.cancel()
        if carrying:
            await asyncio.wait(carrying)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._carrying.add(task)
        ends = [writer]
        try:
            there, to_there = await asyncio.open_unix_connection(self._target)
            ends.append(to_there)
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, to_there))
                group.create_task(_copy(there, writer))
        except asyncio.CancelledError:
            # The line is cut, which is no fault of this connection.
            return
        finally:
            self._carrying.discard(task)
            for end in ends:
                end.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    # The end of one direction is the end of both.
    writer.transport.abort()


@contextmanager
def line_to(url: str, *, password: str = "") -> Iterator[tuple[Line, str]]:
    """Lay a line to the database of a URL on a unix socket; yield it and the URL that goes over it."""
    parts = urlsplit(url)
    (directory,) = parse_qs(parts.query)["host"]
    user = parts.username or "postgres"
    with Line(f"{directory}/.s.PGSQL.5432").running() as line:
        yield line, f"postgresql://{user}:{quote(password)}@127.0.0.1:{line.port}{parts.path}"
