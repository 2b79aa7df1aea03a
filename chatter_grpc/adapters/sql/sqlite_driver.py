"""A connection to SQLite that visits its thread once per statement, where aiosqlite's own goes three times."""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import aiosqlite

# SQLite asks after so many instructions of its machine whether to go on: some tenths of a millisecond.
_ASK_EVERY: Final = 10_000
# The pause before a file that others open is looked at again, in seconds.
_LOOK_AGAIN: Final = 0.01

_log = logging.getLogger(__name__)


class Step(NamedTuple):
    """A statement with its parameters, several sets of them where it ``is_many``.

    Behind one that is ``needed``, and that neither finds nor changes a row, nothing more is done in the same visit.
    """

    sql: str
    parameters: Any
    is_many: bool = False
    needed: bool = False


# The rows of a statement, and how many it changed.
Answer = tuple[Sequence[Any], int]


class Deadline:
    """Ends statements that take longer than ``seconds``; SQLite asks it while it works."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._at = 0.0

    def begin(self) -> None:
        """Let a statement begin now."""
        self._at = time.monotonic() + self._seconds

    def is_over(self) -> bool:
        """Whether the statement has to end."""
        return time.monotonic() > self._at


class OneTripConnection(aiosqlite.Connection):
    """Executes a statement and fetches all its rows in one visit to the connection's thread.

    The first statement after a commit or rollback begins a transaction with the statement ``begin``.
    """

    def __init__(self, connector: Callable[[], sqlite3.Connection], deadline: Deadline, begin: str) -> None:
        super().__init__(connector, iter_chunk_size=64)
        self._deadline = deadline
        self._begin = begin
        self._stopped: asyncio.Future[Any] | None = None
        # A process that ends without closing must not wait for this thread.
        self._thread.daemon = True

    def __del__(self) -> None:
        # SQLAlchemy forgets a connection whose first use is cancelled. Its thread and its file must not stay.
        if self._connection is not None:
            _log.warning("database_connection_dropped")
            self.stop()

    def stop(self) -> asyncio.Future[Any] | None:
        """Have the thread close the connection and end; the future is done when it has."""
        self._stopped = super().stop()
        return self._stopped

    async def _connect(self) -> aiosqlite.Connection:
        try:
            return await super()._connect()
        except BaseException:
            # The thread was told to end. It answers to this loop, which may be closed soon after an error.
            if self._stopped is not None:
                await self._stopped
            raise

    def cursor(self) -> Any:
        """Return a cursor without visiting the thread; SQLAlchemy enters it."""
        return _Cursor(self)

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function of the underlying connection in its thread, under the deadline for statements."""
        return await self._execute(partial(self._run, function, *arguments))  # type: ignore[no-untyped-call]

    async def run_all(self, steps: Sequence[Step], *, commit: bool = False) -> tuple[Sequence[Answer], bool]:
        """Execute statements in one visit to the thread, each under the deadline, until one fails.

        Returns what each answered, and whether all was done; else the last was ``needed``, and nothing is committed.
        """
        done: tuple[Sequence[Answer], bool] = await self._execute(  # type: ignore[no-untyped-call]
            partial(self._run_all, steps, commit=commit)
        )
        return done

    async def commit(self) -> None:
        """Commit, if there is anything to commit."""
        if self._conn.in_transaction:
            await super().commit()

    async def rollback(self) -> None:
        """Roll back, if there is anything to roll back."""
        if self._conn.in_transaction:
            await super().rollback()

    def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        connection = self._conn
        if not connection.in_transaction:
            connection.execute(self._begin)
        self._deadline.begin()
        return function(connection, *arguments)

    def _run_all(self, steps: Sequence[Step], *, commit: bool) -> tuple[Sequence[Answer], bool]:
        answers: list[Answer] = []
        for sql, parameters, is_many, needed in steps:
            rows, _, count, _ = self._run(_execute_many if is_many else _execute, sql, parameters)
            answers.append((rows, count))
            if needed and not rows and count <= 0:
                return answers, False
        if commit:
            self._conn.commit()
        return answers, True


class _Cursor:
    """What SQLAlchemy needs of a cursor: one statement with its rows."""

    def __init__(self, connection: OneTripConnection) -> None:
        self._connection = connection
        self._rows: Sequence[Any] = ()
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self.arraysize = 1

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def execute(self, sql: str, parameters: Iterable[Any] = ()) -> Self:
        """Execute a statement and keep its rows."""
        self._keep(await self._connection.run(_execute, sql, parameters))
        return self

    async def executemany(self, sql: str, parameters: Iterable[Iterable[Any]]) -> Self:
        """Execute a statement for each of the parameters."""
        self._keep(await self._connection.run(_execute_many, sql, parameters))
        return self

    async def fetchall(self) -> Sequence[Any]:
        """Return the rows."""
        rows, self._rows = self._rows, ()
        return rows

    async def close(self) -> None:
        """Forget the rows; SQLite's own cursor was closed when they were read."""
        self._rows = ()

    def _keep(self, done: "_Done") -> None:
        self._rows, self.description, self.rowcount, self.lastrowid = done


_Done = tuple[Sequence[Any], Any, int, int | None]


def _execute(connection: sqlite3.Connection, sql: str, parameters: Any) -> _Done:
    cursor = connection.execute(sql, parameters)
    try:
        rows = cursor.fetchall() if cursor.description else ()
        return rows, cursor.description, cursor.rowcount, cursor.lastrowid
    finally:
        cursor.close()


def _execute_many(connection: sqlite3.Connection, sql: str, parameters: Any) -> _Done:
    cursor = connection.executemany(sql, parameters)
    try:
        return (), None, cursor.rowcount, cursor.lastrowid
    finally:
        cursor.close()


def open_file(
    path: str, *, wait_seconds: float, deadline: Deadline | None, read_only: bool = False, check_keys: bool = True
) -> sqlite3.Connection:
    """Open a database file as Chatter uses it: WAL, checked foreign keys, transactions begun by hand.

    A lock of another process is waited for ``wait_seconds``. SQLite in WAL mode with ``synchronous`` NORMAL survives
    a killed process whole, and may lose the last commits when the power fails.
    """
    connection = sqlite3.connect(path, timeout=wait_seconds, isolation_level=None, check_same_thread=False)
    try:
        _keep_wal(connection, wait_seconds)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA foreign_keys = {'ON' if check_keys else 'OFF'}")
        if read_only:
            connection.execute("PRAGMA query_only = ON")
        if deadline is not None:
            connection.set_progress_handler(deadline.is_over, _ASK_EVERY)
    except BaseException:
        connection.close()
        raise
    return connection


def _keep_wal(connection: sqlite3.Connection, wait_seconds: float) -> None:
    """Have the file keep a write-ahead log.

    Of those who open a new file at once SQLite refuses all but one at once, however long they meant to wait for a lock.
    """
    give_up_at = time.monotonic() + wait_seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= give_up_at:
                raise
            time.sleep(_LOOK_AGAIN)
        else:
            return
