"""Brings a database's tables to the state that this version of Chatter works with."""

import asyncio
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, text

from chatter_grpc.adapters.sql.api_keys import ApiKeyRow
from chatter_grpc.adapters.sql.audit import AuditRow
from chatter_grpc.adapters.sql.checkpoints import CheckpointRow, CheckpointValueRow, CheckpointWriteRow
from chatter_grpc.adapters.sql.claims import OwnerTurnRow
from chatter_grpc.adapters.sql.conversations import ConversationRow, ConversationTagRow
from chatter_grpc.adapters.sql.engines import DatabaseOptions, connected, make_postgres_engine, make_sqlite_engine
from chatter_grpc.adapters.sql.images import MessageImageRow
from chatter_grpc.adapters.sql.ledger import ReservationRow
from chatter_grpc.adapters.sql.message_counts import MessageCountRow
from chatter_grpc.adapters.sql.messages import MessageRow
from chatter_grpc.adapters.sql.requests import RequestRow
from chatter_grpc.adapters.sql.revocations import RevocationRow
from chatter_grpc.adapters.sql.rows import Stored
from chatter_grpc.adapters.sql.run_log import RunLogRow
from chatter_grpc.adapters.sql.run_rows import RunInputRow, RunRow
from chatter_grpc.adapters.sql.sessions import RefreshTokenRow, SessionRow
from chatter_grpc.adapters.sql.signing_keys import SigningKeyRow
from chatter_grpc.adapters.sql.urls import parse_url
from chatter_grpc.adapters.sql.users import OwnerRow, UserRow
from chatter_grpc.adapters.sql.words import ConversationWordsRow, MessageWordsRow

ROWS: Final = (
    UserRow,
    OwnerRow,
    SessionRow,
    RefreshTokenRow,
    ApiKeyRow,
    SigningKeyRow,
    RevocationRow,
    AuditRow,
    RequestRow,
    ConversationRow,
    ConversationTagRow,
    ConversationWordsRow,
    MessageRow,
    MessageImageRow,
    MessageWordsRow,
    RunRow,
    RunInputRow,
    RunLogRow,
    CheckpointRow,
    CheckpointValueRow,
    CheckpointWriteRow,
    ReservationRow,
    OwnerTurnRow,
    MessageCountRow,
)
METADATA: Final[MetaData] = Stored.metadata

# A migration may rebuild a large table, and a second process waits for the first one's.
_OPTIONS: Final = DatabaseOptions(pool_size=1, acquire_seconds=60.0, statement_seconds=1800.0)
# Any number that nothing else in the database locks: the first eight bytes of SHA-256 of "chatter migrations".
_LOCK: Final = text("SELECT pg_advisory_xact_lock(-774446686582053523)")
# Alembic keeps what it works on in modules of its own, so that a process can migrate one database at a time.
_ALEMBIC: Final = threading.Lock()

Result = TypeVar("Result")


class SchemaBroken(Exception):
    """A migration left rows that name rows that do not exist; it was rolled back."""


async def migrate(url: str) -> None:
    """Bring the tables up to date in one transaction; of several processes that do it at once, one does the work.

    Raises ``StorageUnavailable``, and ``ValueError`` for a URL that is none.
    """
    await asyncio.to_thread(_migrate, url)


async def current(url: str) -> str | None:
    """Return the revision that the tables are at, ``None`` where there are none; raises as ``migrate``."""
    return await asyncio.to_thread(_in_own_loop, url, _revision)


def latest() -> str:
    """Return the revision that this version of Chatter works with. It reads files."""
    head = ScriptDirectory.from_config(_configuration()).get_current_head()
    assert head is not None
    return head


async def is_current(url: str) -> bool:
    """Whether the tables are what this version of Chatter works with; raises as ``migrate``."""
    return await current(url) == await asyncio.to_thread(latest)


def _migrate(url: str) -> None:
    with _ALEMBIC:
        _in_own_loop(url, _upgrade)


def _configuration() -> Config:
    configuration = Config()
    configuration.set_main_option("script_location", "chatter_grpc.adapters.sql:migrations")
    return configuration


def _in_own_loop(url: str, work: Callable[[Connection], Result]) -> Result:
    # Alembic reads files and blocks; asyncpg needs a loop. So it gets one that nobody else waits on.
    return asyncio.run(_in_transaction(url, work))


async def _in_transaction(url: str, work: Callable[[Connection], Result]) -> Result:
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = make_sqlite_engine(parsed, _OPTIONS, read_only=False, pool_size=1, for_migrations=True)
    else:
        engine = make_postgres_engine(parsed, _OPTIONS, for_migrations=True)
    try:
        async with connected(engine) as connection, connection.begin():
            return await connection.run_sync(work)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(_LOCK)
    configuration = _configuration()
    configuration.attributes["connection"] = connection
    command.upgrade(configuration, "head")
    if connection.dialect.name == "sqlite" and connection.exec_driver_sql("PRAGMA foreign_key_check").first():
        raise SchemaBroken


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
