"""Real databases for tests: a file of SQLite, or a database on one PostgreSQL server that ends with the tests."""

import asyncio
import itertools
import shutil
import subprocess
import tempfile
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import asyncpg

from chatter_grpc.adapters.sql import schema
from tests.support.start_postgres import start_postgres

# Reads until the pipe closes, which the end of the process that holds the other end does too.
STOP: Final = """
cat
if [ -e "$0/postmaster.pid" ]; then kill -INT "$(head -n 1 "$0/postmaster.pid")"; fi
while [ -e "$0/postmaster.pid" ]; do sleep 0.05; done
rm -r "$(dirname "$0")"
"""
# Ends what a test left open, which may hold locks, and then all rows.
CLEAR: Final = "; ".join(
    (
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        *(f"DELETE FROM {table.name}" for table in reversed(schema.METADATA.sorted_tables)),
    )
)

Result = TypeVar("Result")


class SqliteFiles:
    """Makes database files, each a copy of one that was migrated."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = itertools.count(1)
        self._template = directory / "template.sqlite3"
        run_aside(schema.migrate(f"sqlite:///{self._template}"))

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """Make a migrated database and yield its URL."""
        path = self._directory / f"test{next(self._numbers)}.sqlite3"
        shutil.copyfile(self._template, path)
        yield f"sqlite:///{path}"
        for file in self._directory.glob(f"{path.name}*"):
            file.unlink()

    @contextmanager
    def empty(self) -> Iterator[str]:
        """Yield the URL of a database without tables."""
        path = self._directory / f"empty{next(self._numbers)}.sqlite3"
        yield f"sqlite:///{path}"
        for file in self._directory.glob(f"{path.name}*"):
            file.unlink()


class PostgresDatabases:
    """Lends databases on a server. One that comes back is emptied and lent again: a new one takes far longer."""

    def __init__(self, host: Path) -> None:
        self._host = host
        self._numbers = itertools.count(1)
        self._free: list[str] = []

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """Yield the URL of a database with all tables and no rows."""
        if self._free:
            name = self._free.pop()
        else:
            name = self._create()
            run_aside(schema.migrate(self._url(name)))
        yield self._url(name)
        run_aside(self._execute(name, CLEAR))
        self._free.append(name)

    @contextmanager
    def empty(self) -> Iterator[str]:
        """Yield the URL of a database without tables."""
        name = self._create()
        yield self._url(name)
        run_aside(self._execute("postgres", f'DROP DATABASE "{name}" WITH (FORCE)'))

    def _create(self) -> str:
        name = f"test{next(self._numbers)}"
        run_aside(self._execute("postgres", f'CREATE DATABASE "{name}"'))
        return name

    def _url(self, name: str) -> str:
        return f"postgresql://postgres@/{name}?host={self._host}"

    async def _execute(self, name: str, statement: str) -> None:
        connection = await asyncpg.connect(user="postgres", database=name, host=str(self._host), timeout=10)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@contextmanager
def postgres_server() -> Iterator[Path]:
    """Run PostgreSQL and yield the directory of its socket; it ends even if this process is killed."""
    directory = Path(tempfile.mkdtemp(prefix="chatter-postgres-"))
    directory.chmod(0o755)
    data = directory / "data"
    with _ended_with_us(data):
        start_postgres(data)
        yield data


@contextmanager
def _ended_with_us(data: Path) -> Iterator[None]:
    """Have a process of its own wait for the end of this one, stop the server then and remove its files."""
    watchdog = subprocess.Popen(["/bin/sh", "-c", STOP, str(data)], stdin=subprocess.PIPE, start_new_session=True)
    assert watchdog.stdin is not None
    try:
        yield
    finally:
        watchdog.stdin.close()
        assert watchdog.wait(timeout=30) == 0


def run_aside(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end in a loop of its own, whether or not this thread has one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result(timeout=60)
