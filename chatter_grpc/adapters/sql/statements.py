"""Runs statements on one connection, each under its deadline."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple, cast

from sqlalchemy import CursorResult, Executable, Row
from sqlalchemy.ext.asyncio import AsyncConnection

from chatter_grpc.adapters.sql.faults import away_as_unavailable
from chatter_grpc.adapters.sql.prepared import Either, Prepared, Values, Written
from chatter_grpc.adapters.sql.sqlite_driver import Answer, OneTripConnection, Step

# The databases end a statement by themselves. Only one that does not even do that is left after this much more.
GRACE_SECONDS: Final = 2.0
# So many statements wait at most to be sent with the next one.
_WAITING: Final = 16

__all__ = ["GRACE_SECONDS", "Asked", "Either", "Prepared", "Statements", "Values"]


# Returns why a transaction whose statement neither found nor changed a row may not go on, None to have it try again.
Refusal = Callable[[], Awaitable[Exception | None]]


class Asked(NamedTuple):
    """A statement that is sent with others; those behind one that is ``needed`` and finds nothing are not executed."""

    statement: Prepared
    values: Values
    needed: bool = False


class Statements:
    """What stores write their statements to. Every method raises ``StorageUnavailable``.

    On SQLite, ``Prepared`` statements pass SQLAlchemy by, and those that nobody waits for are sent with the next one.
    After a statement that failed, the databases have undone what came before it, or will not go on. So the same error
    is raised by whatever follows.
    """

    def __init__(self, connection: AsyncConnection, seconds: float, driver: OneTripConnection | None = None) -> None:
        self._connection = connection
        self._seconds = seconds
        self._failure: Exception | None = None
        self._waiting: list[Step] = []
        # By the places of those that wait.
        self._refusals: dict[int, Refusal] = {}
        self._driver = driver
        self._passed_by = False
        self.dialect = connection.dialect.name

    async def run(self, statement: Executable | Either | Prepared, values: Values | None = None) -> CursorResult[Any]:
        """Execute a statement, once for each set of values where there are several."""
        chosen = statement if isinstance(statement, Executable) else _on(statement, self.dialect)
        await self.flush()
        self.check()
        try:
            with away_as_unavailable():
                async with asyncio.timeout(self._seconds + GRACE_SECONDS):
                    return await self._connection.execute(chosen, values)
        except Exception as error:
            self._failure = error
            raise

    async def later(self, statement: Prepared, values: Values, refusal: Refusal | None = None) -> None:
        """Execute a statement before the next one, or before the commit: what fails of it, fails there.

        Where there is a ``refusal``, and it neither finds nor changes a row, that is raised, and nothing behind it is
        executed; the transaction is not committed. On PostgreSQL it is executed at once, and again where the refusal is
        none.
        """
        if self.dialect != "sqlite":
            while (await self._finds_nothing(statement, values)) and refusal is not None:
                await self._refuse(refusal)
            return
        self.check()
        if refusal is not None:
            self._refusals[len(self._waiting)] = refusal
        written = statement.write(self._connection.dialect, values)
        self._waiting.append(_step(written, values, refusal is not None))
        if len(self._waiting) >= _WAITING:
            await self.flush()

    async def _finds_nothing(self, statement: Prepared, values: Values) -> bool:
        done = await self.run(statement, values)
        return not (done.returns_rows and done.all()) and done.rowcount <= 0

    async def _refuse(self, refusal: Refusal) -> None:
        error = await refusal()
        if error is not None:
            self._failure = error
            raise error

    async def flush(self) -> None:
        """Execute what waits."""
        if self._waiting:
            await self._send()

    async def commit(self) -> None:
        """Commit, what waits included; raise the error of the statement that failed, if one did."""
        self.check()
        if self._waiting or self._passed_by:
            await self._send(commit=True)
            return
        with away_as_unavailable():
            async with asyncio.timeout(self._seconds + GRACE_SECONDS):
                await self._connection.commit()

    def check(self) -> None:
        """Raise the error of the statement that failed, if one did."""
        if self._failure is not None:
            raise self._failure

    async def rows(self, statement: Executable | Either | Prepared, values: Values | None = None) -> Sequence[Row[Any]]:
        """Return all rows."""
        if isinstance(statement, Prepared) and self.dialect == "sqlite":
            written = statement.write(self._connection.dialect, values or {})
            self._waiting.append(_step(written, values or {}))
            found = (await self._send())[-1][0]
            # Values by the names of their columns, and in their order: of a row, stores ask no more.
            return cast("Sequence[Row[Any]]", written.rows(found))
        return (await self.run(statement, values)).all()

    async def row(self, statement: Executable | Either | Prepared, values: Values | None = None) -> Row[Any] | None:
        """Return the only row, or ``None``."""
        if isinstance(statement, Prepared):
            found = await self.rows(statement, values)
            assert len(found) <= 1
            return found[0] if found else None
        return (await self.run(statement, values)).one_or_none()

    async def count(self, statement: Executable | Either | Prepared, values: Values | None = None) -> int:
        """Return how many rows were changed."""
        if isinstance(statement, Prepared) and self.dialect == "sqlite":
            self._waiting.append(_step(statement.write(self._connection.dialect, values or {}), values or {}))
            return (await self._send())[-1][1]
        return (await self.run(statement, values)).rowcount

    async def together(self, *asked: Asked) -> Sequence[Sequence[Row[Any]]]:
        """Execute statements that do not need each other's answers, on SQLite in one visit to its thread.

        Returns the rows of each. Where one that was needed found and changed nothing, its rows, none, are the last.
        """
        if self.dialect != "sqlite":
            return await self._one_by_one(asked)
        dialect = self._connection.dialect
        written = [statement.write(dialect, values) for statement, values, _ in asked]
        before = len(self._waiting)
        self._waiting += [_step(each, one.values, one.needed) for each, one in zip(written, asked, strict=True)]
        answers = (await self._send())[before:]
        return [cast("Sequence[Row[Any]]", each.rows(rows)) for each, (rows, _) in zip(written, answers, strict=False)]

    async def _one_by_one(self, asked: Sequence[Asked]) -> Sequence[Sequence[Row[Any]]]:
        answers: list[Sequence[Row[Any]]] = []
        for statement, values, needed in asked:
            done = await self.run(statement, values)
            answers.append(done.all() if done.returns_rows else ())
            if needed and not answers[-1] and done.rowcount <= 0:
                break
        return answers

    async def _send(self, *, commit: bool = False) -> Sequence[Answer]:
        """Execute all that waits in one visit to SQLite's thread; return what each statement answered."""
        self.check()
        self._passed_by = True
        steps, self._waiting = self._waiting, []
        refusals, self._refusals = self._refusals, {}
        self._tell(steps)
        try:
            with away_as_unavailable():
                async with asyncio.timeout(self._seconds * (len(steps) + commit) + GRACE_SECONDS):
                    answers, whole = await self._visit(steps, commit=commit)
        except Exception as error:
            self._failure = error
            raise
        if not whole and (refusal := refusals.get(len(answers) - 1)) is not None:
            await self._refuse(refusal)
            raise AssertionError("nobody else writes, and yet there is nothing to refuse")
        assert whole or not commit
        return answers

    async def _visit(self, steps: Sequence[Step], *, commit: bool) -> tuple[Sequence[Answer], bool]:
        try:
            if self._driver is None:
                self._driver = (await self._connection.get_raw_connection()).driver_connection
                assert isinstance(self._driver, OneTripConnection)
            return await self._driver.run_all(steps, commit=commit)
        except BaseException as error:
            # Nobody knows how far a visit came that was not waited for, nor what is left of a connection that is
            # closed. Such a one must not come back to its pool; SQLAlchemy does the same.
            if not isinstance(error, sqlite3.Error) or isinstance(error, sqlite3.ProgrammingError):
                await self._connection.invalidate(error)
            raise

    def _tell(self, steps: Sequence[Step]) -> None:
        """Tell those who listen to SQLAlchemy's statements of these."""
        connection = self._connection.sync_connection
        assert connection is not None
        listeners: Any = connection.dispatch
        if not listeners.before_cursor_execute:
            return
        for sql, parameters, is_many, _ in steps:
            for listen in listeners.before_cursor_execute:
                listen(connection, None, sql, parameters, None, is_many)


def _on(statement: Either | Prepared, dialect: str) -> Executable:
    return statement.on[dialect] if isinstance(statement, Either) else statement.on(dialect)


def _step(written: Written, values: Values, needed: bool = False) -> Step:
    if isinstance(values, Sequence):
        return Step(written.sql, [written.parameters(each) for each in values], True, needed)
    return Step(written.sql, written.parameters(values), False, needed)
