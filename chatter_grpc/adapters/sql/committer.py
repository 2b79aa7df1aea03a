"""Opens the writer of run logs that belongs to a database."""

from chatter_grpc.adapters.sql.committer_postgres import PostgresCommitter
from chatter_grpc.adapters.sql.committer_sqlite import SqliteCommitter
from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.core.runs.run import LogCommitter


async def open_committer(database: Database) -> LogCommitter:
    """Return a connected committer; close it before the database. Raises ``StorageUnavailable``."""
    committer = SqliteCommitter(database) if database.is_sqlite else PostgresCommitter(database)
    try:
        await committer.connect()
    except BaseException:
        await committer.close()
        raise
    return committer
