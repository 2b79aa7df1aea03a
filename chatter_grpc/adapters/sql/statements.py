"""Runs statements on one connection, each under its deadline."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import CursorResult, Executable, Row
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from chatter_grpc.adapters.sql.faults import away_as_unavailable

# The databases end a statement by themselves. Only one that does not even do that is left after this much more.
GRACE_SECONDS: Final = 2.0

Values = Mapping[str, Any] | Sequence[Mapping[str, Any]]


class Either:
    """A statement that SQLAlchemy builds from another class on each database: an insert that minds conflicts."""

    def __init__(self, build: Callable[[Any], Executable]) -> None:
        self.on: Mapping[str, Executable] = {
            "sqlite": build(sqlite.insert),
            "postgresql": build(postgresql.insert),
        }


class Statements:
    """What stores write their statements to. Every method raises ``StorageUnavailable``.

    After a statement that failed, the databases have undone what came before it, or will not go on. So the same error
    is raised by whatever follows.
    """

    def __init__(self, connection: AsyncConnection, seconds: float) -> None:
        self._connection = connection
        self._seconds = seconds
        self._failure: Exception | None = None
        self.dialect = connection.dialect.name

    async def run(self, statement: Executable | Either, values: Values | None = None) -> CursorResult[Any]:
        """Execute a statement, once for each set of values where there are several."""
        chosen = statement.on[self.dialect] if isinstance(statement, Either) else statement
        self.check()
        try:
            with away_as_unavailable():
                async with asyncio.timeout(self._seconds + GRACE_SECONDS):
                    return await self._connection.execute(chosen, values)
        except Exception as error:
            self._failure = error
            raise

    def check(self) -> None:
        """Raise the error of the statement that failed, if one did."""
        if self._failure is not None:
            raise self._failure

    async def rows(self, statement: Executable | Either, values: Values | None = None) -> Sequence[Row[Any]]:
        """Return all rows."""
        return (await self.run(statement, values)).all()

    async def row(self, statement: Executable | Either, values: Values | None = None) -> Row[Any] | None:
        """Return the only row, or ``None``."""
        return (await self.run(statement, values)).one_or_none()

    async def count(self, statement: Executable | Either, values: Values | None = None) -> int:
        """Return how many rows were changed."""
        return (await self.run(statement, values)).rowcount
