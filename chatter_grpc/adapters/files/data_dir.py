"""The data directory of the embedded mode: made for its owner alone, and held by one server at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK_NAME = "serve.lock"


class DataDirectoryBusy(Exception):
    """Another server uses the data directory; the message says which process holds it."""


def make_data_dir(path: Path) -> None:
    """Make the directory with mode 0700 where it is absent. Blocks."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


@contextmanager
def hold_data_dir(path: Path) -> Iterator[None]:
    """Hold the directory until the block ends or the process dies; raises ``DataDirectoryBusy``. Blocks."""
    make_data_dir(path)
    descriptor = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            raise DataDirectoryBusy(
                f"{path} is in use by another server (process {holder}). Stop it, or set CHATTER_DATA_DIR."
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
