"""Storage on a database: transactions that hold every store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chatter_grpc.adapters.sql.api_keys import SqlApiKeys
from chatter_grpc.adapters.sql.audit import SqlAudit
from chatter_grpc.adapters.sql.checkpoints import SqlCheckpoints
from chatter_grpc.adapters.sql.conversations import SqlConversations
from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.adapters.sql.forks import SqlForks
from chatter_grpc.adapters.sql.housekeeping import SqlHousekeeping
from chatter_grpc.adapters.sql.images import SqlImages
from chatter_grpc.adapters.sql.ledger import SqlLedger
from chatter_grpc.adapters.sql.message_counts import SqlMessageCounts
from chatter_grpc.adapters.sql.messages import SqlMessages
from chatter_grpc.adapters.sql.requests import SqlRequests
from chatter_grpc.adapters.sql.revocations import SqlRevocations
from chatter_grpc.adapters.sql.run_logs import SqlRunLogs
from chatter_grpc.adapters.sql.runs import SqlRuns
from chatter_grpc.adapters.sql.search import SqlSearch
from chatter_grpc.adapters.sql.sessions import SqlSessions
from chatter_grpc.adapters.sql.signing_keys import SqlSigningKeys
from chatter_grpc.adapters.sql.starts import SqlStarts
from chatter_grpc.adapters.sql.statements import Statements
from chatter_grpc.adapters.sql.users import SqlUsers


class SqlTransaction:
    """All stores over one connection."""

    def __init__(self, statements: Statements) -> None:
        self._sql = statements

    @property
    def users(self) -> SqlUsers:
        """Accounts and owners."""
        return SqlUsers(self._sql)

    @property
    def sessions(self) -> SqlSessions:
        """Login sessions."""
        return SqlSessions(self._sql)

    @property
    def api_keys(self) -> SqlApiKeys:
        """API keys."""
        return SqlApiKeys(self._sql)

    @property
    def signing_keys(self) -> SqlSigningKeys:
        """Keys that sign tokens."""
        return SqlSigningKeys(self._sql)

    @property
    def revocations(self) -> SqlRevocations:
        """Revoked credentials."""
        return SqlRevocations(self._sql)

    @property
    def audit(self) -> SqlAudit:
        """The audit log."""
        return SqlAudit(self._sql)

    @property
    def requests(self) -> SqlRequests:
        """Request ids."""
        return SqlRequests(self._sql)

    @property
    def starts(self) -> SqlStarts:
        """What runs start from."""
        return SqlStarts(self._sql)

    @property
    def conversations(self) -> SqlConversations:
        """Conversations."""
        return SqlConversations(self._sql)

    @property
    def messages(self) -> SqlMessages:
        """Messages."""
        return SqlMessages(self._sql)

    @property
    def images(self) -> SqlImages:
        """The data of messages' images."""
        return SqlImages(self._sql)

    @property
    def forks(self) -> SqlForks:
        """What copies messages."""
        return SqlForks(self._sql)

    @property
    def search(self) -> SqlSearch:
        """What finds conversations and messages."""
        return SqlSearch(self._sql)

    @property
    def message_counts(self) -> SqlMessageCounts:
        """Messages by account and day."""
        return SqlMessageCounts(self._sql)

    @property
    def runs(self) -> SqlRuns:
        """Runs and their logs."""
        return SqlRuns(self._sql)

    @property
    def run_logs(self) -> SqlRunLogs:
        """Logs as readers find them."""
        return SqlRunLogs(self._sql)

    @property
    def ledger(self) -> SqlLedger:
        """What runs with a budget have reserved and taken."""
        return SqlLedger(self._sql)

    @property
    def checkpoints(self) -> SqlCheckpoints:
        """Checkpoints of runs."""
        return SqlCheckpoints(self._sql)

    @property
    def housekeeping(self) -> SqlHousekeeping:
        """What has had its time."""
        return SqlHousekeeping(self._sql)


class SqlStorage:
    """``Storage`` on SQLite or PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def read(self) -> AsyncIterator[SqlTransaction]:
        """See ``Storage``."""
        async with self._database.reading() as statements:
            yield SqlTransaction(statements)

    @asynccontextmanager
    async def write(self, *, urgent: bool = False) -> AsyncIterator[SqlTransaction]:
        """See ``Storage``."""
        async with self._database.writing(urgent=urgent) as statements:
            yield SqlTransaction(statements)

    async def ping(self) -> None:
        """See ``Storage``."""
        await self._database.ping()
