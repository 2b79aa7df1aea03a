"""Chatter's processes for tests: commands that are run to their end, and servers that are stopped for certain."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chatter_grpc.cli.announcement import read_announcement

ROOT: Final = Path(__file__).resolve().parents[2]
# Generous: importing takes seconds on a machine with other work.
SECONDS: Final = 90.0


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with these settings, by names such as ``data_dir``, and no others."""
    inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith("CHATTER_")}
    given = {f"CHATTER_{name.upper()}": value for name, value in settings.items()}
    # Colours and widths are a terminal's; commands run anywhere, not only in the repository.
    return {**inherited, **given, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "200"}


def run_command(directory: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run ``chatter-grpc`` in a directory to its end."""
    return subprocess.run(
        [sys.executable, "-m", "chatter_grpc", *arguments],
        cwd=directory,
        env=environment(settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process that writes into two files."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    def wait_for_line(self, wanted: str) -> str:
        """Return the first line on stdout that holds a text."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            ended = self.process.poll() is not None
            for line in self.out.read_text().splitlines(keepends=True):
                if wanted in line and line.endswith("\n"):
                    return line
            assert not ended, f"it ended with {self.process.returncode}:\n{self.out.read_text()}{self.err.read_text()}"
            time.sleep(0.02)
        raise AssertionError(f"no line with {wanted!r}:\n{self.out.read_text()}{self.err.read_text()}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(SECONDS)


@contextmanager
def running(directory: Path, *arguments: str, **settings: str) -> Iterator[Process]:
    """Run ``chatter-grpc`` in a directory while the block lasts."""
    out, err = directory / "stdout.log", directory / "stderr.log"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "chatter_grpc", *arguments],
            cwd=directory,
            env=environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )
    try:
        yield Process(process=process, out=out, err=err)
    finally:
        process.kill()
        process.wait()


@contextmanager
def serving(directory: Path, **settings: str) -> Iterator[tuple[Process, str]]:
    """Run a server on a free port, on the directory's own data unless the settings name another; yield its address."""
    with running(directory, "serve", "--listen", "127.0.0.1:0", **settings) as server:
        address = read_announcement(server.wait_for_line(" serves on "))
        assert address is not None
        yield server, address
