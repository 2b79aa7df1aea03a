"""Servers as processes that are killed, stopped, held up and started again, on the same address and the same data."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc

from chatter_grpc.cli.announcement import read_announcement
from chatter_grpc.config import Settings
from tests.chaos.provider import ChaosProvider, provider_settings
from tests.support.outages import OwnPostgres, own_postgres
from tests.support.processes import ROOT, environment
from tests.support.redis_server import OwnRedis, redis_server
from tests.support.served import SECRET, UNLIMITED, Served
from tests.support.tcp_proxy import TcpProxy

SECONDS: Final = 90.0
LEASE_SECONDS: Final = 2.0
STOP_SECONDS: Final = 1.0
# Times of tests: what takes half a minute in production takes a second or two here.
TIMES: Final = {
    "lease_seconds": str(LEASE_SECONDS),
    "reaper_seconds": "0.5",
    "stop_seconds": str(STOP_SECONDS),
    "database_seconds": "5",
    "run_seconds": "120",
    "streams_per_caller": "100000",
    "detached_runs": "1000",
    "pending_runs_per_owner": "100000",
    "log_format": "json",
}


class ServerProcess:
    """One server: a process with an address of its own that stays the same over its lives."""

    def __init__(self, directory: Path, settings: Mapping[str, str], *, graph: str = "", port: int = 0) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.settings = dict(settings)
        self.graph = graph
        self.address = f"127.0.0.1:{port or free_port()}"
        self.lives = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process of this life."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it lives, held up or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What it has said on stderr in all its lives."""
        return "".join(path.read_text() for path in sorted(self.directory.glob("stderr.*.log")))

    async def start(self) -> None:
        """Begin a life, and return when it serves."""
        self.lives += 1
        out, err = (self.directory / f"{name}.{self.lives:04}.log" for name in ("stdout", "stderr"))
        command = ["chatter_grpc", "serve"] if not self.graph else ["tests.chaos.launch", self.graph]
        with out.open("wb") as stdout, err.open("wb") as stderr:
            # It only forks: what it becomes is waited for below.
            self._process = subprocess.Popen(  # noqa: ASYNC220
                [sys.executable, "-m", *command, "--listen", self.address],
                cwd=self.directory,
                env=environment(self.settings) | {"PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )
        give_up_at = time.monotonic() + SECONDS
        while not any(read_announcement(line) for line in out.read_text().splitlines()):
            assert self.running, f"it ended with {self._process.returncode}:\n{err.read_text()}"
            assert time.monotonic() < give_up_at, f"it does not serve:\n{err.read_text()}"
            await asyncio.sleep(0.02)

    async def kill(self) -> None:
        """End it at once, as a crash does."""
        if self.running:
            os.kill(self.pid, signal.SIGKILL)
            await self._gone()

    async def stop(self) -> None:
        """Tell it to stop, and wait until it has."""
        os.kill(self.pid, signal.SIGTERM)
        assert await self._gone() == 0, f"it stopped with a fault:\n{self.log[-4000:]}"

    def hold(self) -> None:
        """Hold it up, as a machine that is out of breath does."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    async def _gone(self) -> int:
        assert self._process is not None
        give_up_at = time.monotonic() + SECONDS
        while (code := self._process.poll()) is None:
            assert time.monotonic() < give_up_at, f"it does not end:\n{self.log[-4000:]}"
            await asyncio.sleep(0.01)
        return code


@dataclass(kw_only=True)
class Fleet:
    """Servers on one database, a proxy before each, and what else they stand on."""

    servers: list[ServerProcess]
    proxies: list[TcpProxy]
    provider: ChaosProvider
    url: str
    graph: str = ""
    postgres: OwnPostgres | None = None
    redis: OwnRedis | None = None
    channels: list[grpc.aio.Channel] = field(default_factory=list)

    @property
    def storage(self) -> str:
        """What they keep their data in: ``sqlite`` or ``postgres``."""
        return "sqlite" if self.postgres is None else "postgres"

    async def api_key(self, name: str) -> str:
        """Make an administrator with this name, and return an API key of its that may do everything."""
        settings = self.servers[0].settings
        aside = Served(address="", settings=settings, process=None)  # type: ignore[arg-type] # its accounts alone
        async with aside.accounts() as accounts:
            await accounts.create_admin(username=name, email=f"{name}@example.org", password="correct horse battery")
        return await aside.api_key(name, "chat:read", "chat:write", "runs:read", "runs:write")


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@asynccontextmanager
async def fleet(
    storage: str, directory: Path, provider: ChaosProvider, *, graph: str = "", **settings: str
) -> AsyncIterator[Fleet]:
    """Run one server on SQLite, or two on a PostgreSQL and a Redis of their own, while the block lasts."""
    async with AsyncExitStack() as stack:
        # Named though only the embedded one is used: looking for the default's place would block the loop.
        own = {"data_dir": str(directory / "data")}
        given = {**UNLIMITED, **TIMES, **provider_settings(provider), **own, **settings}
        postgres: OwnPostgres | None = None
        redis: OwnRedis | None = None
        if storage == "postgres":
            postgres = await asyncio.to_thread(stack.enter_context, own_postgres())
            redis = await asyncio.to_thread(stack.enter_context, redis_server())
            given |= {"database_url": postgres.url, "redis_url": redis.url, "secret": SECRET}
        known = {name: value for name, value in given.items() if name in Settings.model_fields}
        servers = [
            ServerProcess(directory / name, known, graph=graph) for name in (["one", "two"] if postgres else ["one"])
        ]
        for server in servers:
            stack.push_async_callback(server.kill)
        await asyncio.gather(*(server.start() for server in servers))
        proxies = [stack.enter_context(TcpProxy(server.address).running()) for server in servers]
        url = postgres.url if postgres else f"sqlite:///{directory / 'data'}/chatter.db"
        yield Fleet(
            servers=servers,
            proxies=proxies,
            provider=provider,
            url=url,
            graph=graph,
            postgres=postgres,
            redis=redis,
        )
