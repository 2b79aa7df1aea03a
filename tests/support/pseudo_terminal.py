"""A program on a terminal, as a person uses it: typing, waiting for what it shows, pressing Ctrl-C."""

import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

SECONDS: Final = 20.0
ROWS, COLUMNS = 40, 200
# What moves the cursor, colours or clears.
ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\x07|\x1b\][^\x07]*\x07")

# A session's Ctrl-C is for whoever has taken its terminal.
TAKE: Final = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A terminal of 40 lines of 200 characters and the program on it."""

    def __init__(self, process: "subprocess.Popen[bytes]", handle: int) -> None:
        self.process = process
        self._handle = handle
        self._shown = ""
        self._seen = 0

    @property
    def text(self) -> str:
        """All that was shown, without what a terminal obeys; lines are wrapped, so a space stands for any gap."""
        return re.sub(r"\s+", " ", ESCAPES.sub("", self._shown))

    def expect(self, wanted: str) -> None:
        """Wait until a text is shown, behind the one that was waited for before."""
        give_up_at = time.monotonic() + SECONDS
        while True:
            place = self.text.find(wanted, self._seen)
            if place >= 0:
                self._seen = place + len(wanted)
                return
            assert time.monotonic() < give_up_at, f"{wanted!r} does not come:\n{self.text}"
            assert self._read(0.2) or self.process.poll() is None, f"it ended before {wanted!r}:\n{self.text}"

    def type(self, line: str) -> None:
        """Type a line."""
        os.write(self._handle, f"{line}\r".encode())

    def press(self, key: bytes) -> None:
        """Press a key, such as Ctrl-C (``\\x03``)."""
        os.write(self._handle, key)

    def insist(self, key: bytes, wanted: str = "") -> None:
        """Press a key until a text is shown, or the program ends where none is given.

        Python's readline does not look at a signal that comes just when it has shown its prompt, until the next one.
        """
        give_up_at = time.monotonic() + SECONDS
        while self.process.poll() is None:
            self.press(key)
            press_again_at = time.monotonic() + 2
            while time.monotonic() < press_again_at and self.process.poll() is None:
                self._read(0.1)
                place = self.text.find(wanted, self._seen) if wanted else -1
                if place >= 0:
                    self._seen = place + len(wanted)
                    return
            assert time.monotonic() < give_up_at, f"{wanted!r} does not come:\n{self.text}"
        assert not wanted, f"it ended before {wanted!r}:\n{self.text}"

    def wait(self) -> int:
        """Wait for the program's end and return its exit code."""
        give_up_at = time.monotonic() + SECONDS
        while self.process.poll() is None:
            self._read(0.1)
            assert time.monotonic() < give_up_at, f"it does not end:\n{self.text}"
        while self._read(0):
            pass
        return self.process.returncode

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._handle], [], [], seconds)
        if not ready:
            return False
        with suppress(OSError):
            # The other end is gone: EIO.
            data = os.read(self._handle, 65536)
            self._shown += data.decode(errors="replace")
            return bool(data)
        return False


@contextmanager
def on_terminal(command: Sequence[str], environment: Mapping[str, str], directory: Path) -> Iterator[Terminal]:
    """Run a program on a terminal of its own while the block lasts."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", TAKE, *command],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=directory,
        env=environment,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
