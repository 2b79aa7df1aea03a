"""Databases that go away: a PostgreSQL server that is stopped and started, and a line to one that is cut."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, quote, urlsplit

from tests.support.databases import PostgresDatabases, postgres_server
from tests.support.start_postgres import start_postgres
from tests.support.tcp_proxy import TcpProxy

SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPostgres:
    """A PostgreSQL server of one test's own, with a database on it."""

    directory: Path
    url: str

    def stop(self) -> None:
        """Stop the server; it ends its clients' connections."""
        pid_file = self.directory / "postmaster.pid"
        os.kill(int(pid_file.read_text().splitlines()[0]), signal.SIGINT)
        give_up_at = time.monotonic() + SECONDS
        while pid_file.exists():
            assert time.monotonic() < give_up_at, "PostgreSQL does not stop"
            time.sleep(0.02)

    def start(self) -> None:
        """Start it again, on the same data and the same socket."""
        start_postgres(self.directory)


@contextmanager
def own_postgres() -> Iterator[OwnPostgres]:
    """Run a server with a migrated database; it is started again at the end where it was left stopped."""
    with postgres_server() as directory, PostgresDatabases(directory).fresh() as url:
        postgres = OwnPostgres(directory=directory, url=url)
        try:
            yield postgres
        finally:
            if not (directory / "postmaster.pid").exists():
                postgres.start()


@contextmanager
def line_to(url: str, *, password: str = "", hangs_up: bool = True) -> Iterator[tuple[TcpProxy, str]]:
    """Lay a line to the database of a URL on a unix socket; yield it and the URL that goes over it."""
    parts = urlsplit(url)
    (directory,) = parse_qs(parts.query)["host"]
    user = parts.username or "postgres"
    with TcpProxy(f"{directory}/.s.PGSQL.5432", hangs_up=hangs_up).running() as line:
        yield line, f"postgresql://{user}:{quote(password)}@{line.address}{parts.path}"
