"""Tells a database that is away from a fault of ours."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from chatter_grpc.core.errors import StorageUnavailable

# What asyncpg raises for the server and for itself. The last one says that it no longer knows what a connection is
# doing: the server said farewell to one that nobody used, and its end has not arrived yet.
DRIVER_FAULTS: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
# Classes of SQLSTATE: connection, transaction rollback (deadlock), resources, operator intervention (timeouts,
# shutdown), system error.
_AWAY_CLASSES: Final = frozenset({"08", "40", "53", "57", "58"})
# Lock not available, and the timeouts that end a transaction.
_AWAY_STATES: Final = frozenset({"55P03", "25P03", "25P04"})
_AWAY_ON_SQLITE: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOTADB,
    }
)
_FAULTS: Final = (DBAPIError, PoolTimeout, OSError, *DRIVER_FAULTS, sqlite3.Error)


def is_away(error: BaseException | None) -> bool:
    """Whether a driver's error says that the database cannot be reached, or did not do it in time."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or is_away(error.driver_exception)
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return state[:2] in _AWAY_CLASSES or state in _AWAY_STATES
    if isinstance(error, sqlite3.Error):
        # The primary code is the low byte of an extended one. Errors of the module itself have none.
        code = getattr(error, "sqlite_errorcode", None)
        return code is not None and code & 0xFF in _AWAY_ON_SQLITE
    if isinstance(error, asyncpg.InternalClientError):
        return True
    if isinstance(error, asyncpg.InterfaceError):
        return "connection is closed" in str(error) or "connection was closed" in str(error)
    return isinstance(error, PoolTimeout | OSError | TimeoutError)


@contextmanager
def away_as_unavailable() -> Iterator[None]:
    """Raise ``StorageUnavailable`` for errors that say that the database is away; let all others pass.

    Put it around database calls alone.
    """
    try:
        yield
    except _FAULTS as error:
        if is_away(error):
            raise StorageUnavailable from error
        raise


@contextmanager
def unreachable_as_unavailable() -> Iterator[None]:
    """Raise ``StorageUnavailable`` for whatever keeps a connection from being made."""
    try:
        yield
    except _FAULTS as error:
        raise StorageUnavailable from error
