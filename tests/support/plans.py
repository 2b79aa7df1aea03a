"""How SQLite goes about what a store asks of it."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from chatter_grpc.adapters.sql.database import Database


@contextmanager
def sent(database: Database) -> Iterator[list[tuple[str, Any]]]:
    """Collect the statements with their parameters."""
    seen: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        seen.append((statement, parameters))

    engine = database._writer.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


def plans(database: Database, seen: list[tuple[str, Any]]) -> list[tuple[str, list[str]]]:
    """Return the steps of each statement's plan."""
    connection = sqlite3.connect(str(database.url.database))
    found = [
        (statement, [str(row[-1]) for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)])
        for statement, parameters in seen
    ]
    connection.close()
    return found
