"""Reads what the database holds, beside the servers and without their code, but for the codec of the log."""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import asyncpg

from chatter_grpc.adapters.sql.log_codec import decode_batch
from chatter_grpc.core.runs.events import Entry

SECONDS: Final = 30.0
_COLUMNS: Final = ("id", "conversation_id", "state", "attempt", "last_seq", "failure_reason", "losses")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedBatch:
    """A row of the log."""

    attempt: int
    first_seq: int
    last_seq: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """A run as its row and the rows of its log have it, the log by attempts."""

    id: str
    conversation_id: str
    state: str
    attempt: int
    last_seq: int
    failure_reason: str
    losses: int
    log: tuple[LoggedBatch, ...]

    @property
    def entries(self) -> list[Entry]:
        """All events, in order."""
        return [entry for batch in self.log for entry in batch.entries]


class Rows:
    """Reads the rows of one database; ``query`` takes ``$1`` as PostgreSQL does."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def query(self, statement: str, *values: object) -> list[Sequence[Any]]:
        """Return the rows of a statement."""
        parts = urlsplit(self._url)
        if parts.scheme == "sqlite":
            return await asyncio.to_thread(_query_sqlite, parts.path[1:], statement, values)
        (host,) = parse_qs(parts.query)["host"]
        connection = await asyncpg.connect(user="postgres", database=parts.path[1:], host=host, timeout=SECONDS)
        try:
            return [tuple(row) for row in await connection.fetch(statement, *values, timeout=SECONDS)]
        finally:
            await connection.close()

    async def runs(self, run_ids: Sequence[str]) -> dict[str, StoredRun]:
        """Return runs with their logs."""
        wanted = set(run_ids)
        first, last = min(run_ids), max(run_ids)
        log: dict[str, list[LoggedBatch]] = {run_id: [] for run_id in run_ids}
        for run_id, attempt, first_seq, last_seq, events in await self.query(
            "SELECT run_id, attempt, first_seq, last_seq, events FROM run_log WHERE run_id BETWEEN $1 AND $2"
            " ORDER BY run_id, attempt, last_seq",
            first,
            last,
        ):
            if run_id in wanted:
                entries = decode_batch(bytes(events), attempt, first_seq)
                log[run_id].append(
                    LoggedBatch(attempt=attempt, first_seq=first_seq, last_seq=last_seq, entries=entries)
                )
        found = await self.query(
            f"SELECT {', '.join(_COLUMNS)} FROM runs WHERE id BETWEEN $1 AND $2",
            first,
            last,
        )
        return {
            row[0]: StoredRun(**dict(zip(_COLUMNS, row, strict=True)), log=tuple(log[row[0]]))
            for row in found
            if row[0] in wanted
        }

    async def last_seqs(self, run_ids: Sequence[str]) -> dict[str, dict[int, list[int]]]:
        """Return the numbers at which the log's rows of each attempt of each run end."""
        found: dict[str, dict[int, list[int]]] = {run_id: {} for run_id in run_ids}
        for run_id, attempt, last_seq in await self.query(
            "SELECT run_id, attempt, last_seq FROM run_log WHERE run_id BETWEEN $1 AND $2 ORDER BY last_seq",
            min(run_ids),
            max(run_ids),
        ):
            if run_id in found:
                found[run_id].setdefault(attempt, []).append(last_seq)
        return found


def _query_sqlite(path: str, statement: str, values: tuple[object, ...]) -> list[Sequence[Any]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=SECONDS)) as connection:
        return list(connection.execute(statement.replace("$", "?"), values))
