"""The demonstration's server: a process of its own on embedded defaults, stopped as gracefully as it can be."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from chatter_grpc.cli.announcement import read_announcement
from chatter_grpc.config import PREFIX

START_SECONDS: Final = 60.0
# More than a server takes that lets its runs come to their end.
STOP_SECONDS: Final = 45.0
LOG_LINES: Final = 30


class ServerFailed(Exception):
    """The server did not start, or did not stop as it should; the message holds the end of its log."""


class DemoServer:
    """A server process that serves at ``address``; ``log`` is the file with all that it said on stderr."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log
        self.address = ""

    async def wait_until_ready(self) -> None:
        """Learn the address from the server's output; raises ``ServerFailed``."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(START_SECONDS):
                async for line in self._process.stdout:
                    self.address = read_announcement(line.decode(errors="replace")) or ""
                    if self.address:
                        return
                code = await self._process.wait()
        except TimeoutError:
            raise await self.failure(f"The server does not serve after {START_SECONDS:g} seconds") from None
        raise await self.failure(f"The server ended with {code} instead of serving")

    async def wait(self) -> int:
        """Wait for the process to end by itself; return its exit code."""
        return await self._process.wait()

    async def stop(self) -> int:
        """Stop it gracefully and return its exit code; raises ``ServerFailed`` where it takes too long."""
        if self._process.returncode is None:
            self._process.terminate()
        try:
            return await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        except TimeoutError:
            raise await self.failure(f"The server does not stop within {STOP_SECONDS:g} seconds") from None

    async def kill(self) -> None:
        """End it for certain, if it has not ended yet."""
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def failure(self, what: str) -> ServerFailed:
        """Return an error that shows the end of the log."""
        log = await asyncio.to_thread(self._log.read_text, errors="replace")
        lines = log.splitlines()[-LOG_LINES:]
        return ServerFailed("\n".join([f"{what}; the end of its log:", *(f"  {line}" for line in lines)]))


@asynccontextmanager
async def run_server(directory: Path) -> AsyncIterator[DemoServer]:
    """Run a server on an empty data directory while the block lasts; raises ``ServerFailed``.

    No setting of this environment reaches it: it would be another database, or a model that costs money.
    """
    environment = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
    arguments = ["serve", "--listen", "127.0.0.1:0", "--data-dir", str(directory / "data")]
    log = directory / "server.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "chatter_grpc", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=output,
            env=environment,
            # Ctrl-C is for this process, which then stops the server.
            process_group=0,
        )
    server = DemoServer(process, log)
    try:
        await server.wait_until_ready()
        yield server
    except asyncio.CancelledError:
        # Its exit code says nothing: it may not even have come to the point where it stops gracefully.
        await server.stop()
        raise
    else:
        if code := await server.stop():
            raise await server.failure(f"The server ended with {code}")
    finally:
        await server.kill()
