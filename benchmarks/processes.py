"""Child processes of a benchmark: started with a deadline, measured, and stopped for certain."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

START_DEADLINE = 60.0
"""Seconds until a process takes connections: the LangChain side imports for several."""
STOP_DEADLINE = 15.0
"""Seconds from SIGTERM to SIGKILL."""
POLL = 0.05
IDLE_DEADLINE = 20.0
"""Seconds that a server may take to come to rest between two windows."""
IDLE_WINDOW = 0.2
IDLE_SHARE = 0.1
"""What an idle server uses of a core at most; the kernel counts in steps of 10 ms."""


class ProcessFailed(RuntimeError):
    """A child process that did not come up, or ended before it was told to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A process that listens on a port of 127.0.0.1."""

    name: str
    process: asyncio.subprocess.Process
    port: int
    log: Path

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def read_log_end(self) -> str:
        """The last lines that it wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])

    def check_alive(self) -> None:
        """Raise ProcessFailed, with its last lines, where it has ended."""
        if self.process.returncode is not None:
            raise ProcessFailed(
                f"{self.name} ended with {self.process.returncode}; its last lines:\n{self.read_log_end()}"
            )


def find_free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def python_command(module: str, *arguments: str) -> list[str]:
    """A command that runs a module of ours with this interpreter."""
    return [sys.executable, "-m", module, *arguments]


@asynccontextmanager
async def run_child(
    name: str, command: Sequence[str], *, port: int, logs: Path, env: Mapping[str, str] | None = None
) -> AsyncIterator[Child]:
    """Run a process while the context lasts; it is entered once the port takes connections.

    `env` is its environment, by default this process's. Raises ProcessFailed where the process ends or does not listen
    within START_DEADLINE seconds.
    """
    log = logs / f"{name}.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=env,
            start_new_session=True,
        )
    child = Child(name=name, process=process, port=port, log=log)
    try:
        await wait_until_listening(child)
        yield child
        child.check_alive()
    except Exception as error:
        if not isinstance(error, ProcessFailed):
            error.add_note(f"The last lines of {name}:\n{child.read_log_end()}")
        raise
    finally:
        await stop_child(child)


async def wait_until_listening(child: Child) -> None:
    """Return once the child's port takes connections. Raises ProcessFailed where it does not come to that."""
    try:
        async with asyncio.timeout(START_DEADLINE):
            while True:
                child.check_alive()
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", child.port)
                except OSError:
                    await asyncio.sleep(POLL)
                else:
                    writer.close()
                    await writer.wait_closed()
                    return
    except TimeoutError:
        raise ProcessFailed(
            f"{child.name} does not listen after {START_DEADLINE:g} s; its last lines:\n{child.read_log_end()}"
        ) from None


async def stop_child(child: Child) -> None:
    """End the child: with SIGTERM, and after STOP_DEADLINE seconds with SIGKILL to it and what it started."""
    if child.process.returncode is not None:
        return
    child.process.terminate()
    try:
        await asyncio.wait_for(child.process.wait(), STOP_DEADLINE)
    except TimeoutError:
        # It leads a process group of its own, and is still there to keep the group's id from being another's.
        os.killpg(child.pid, signal.SIGKILL)
        await child.process.wait()


async def wait_until_idle(child: Child) -> None:
    """Return once a process has nothing left to do of what it was given before, at the latest after IDLE_DEADLINE."""
    try:
        async with asyncio.timeout(IDLE_DEADLINE):
            used = read_cpu_seconds(child.pid)
            while True:
                await asyncio.sleep(IDLE_WINDOW)
                used, before = read_cpu_seconds(child.pid), used
                if used - before <= IDLE_SHARE * IDLE_WINDOW:
                    return
    except TimeoutError:
        return


async def wait_for_signal() -> None:
    """In a child: return at SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()


def read_cpu_seconds(pid: int) -> float:
    """CPU seconds, user and system, of a process and its living children; the kernel counts in steps of 10 ms."""
    process = psutil.Process(pid)
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def read_memory_mb(pid: int) -> float:
    """Resident memory of a process and its children, in MB of 10^6 bytes."""
    process = psutil.Process(pid)
    resident: int = sum(each.memory_info().rss for each in (process, *process.children(recursive=True)))
    return resident / 1e6
