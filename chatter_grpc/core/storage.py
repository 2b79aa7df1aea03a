"""The database as the use-cases see it: transactions that hold every store."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from chatter_grpc.core.api_keys import ApiKeyStore
from chatter_grpc.core.audit import AuditStore
from chatter_grpc.core.budgets import LedgerStore
from chatter_grpc.core.conversations import ConversationStore
from chatter_grpc.core.forks import ForkStore
from chatter_grpc.core.housekeeping.store import HousekeepingStore
from chatter_grpc.core.images import ImageStore
from chatter_grpc.core.messages import MessageStore
from chatter_grpc.core.quotas import MessageCountStore
from chatter_grpc.core.requests import RequestStore
from chatter_grpc.core.revocations import RevocationStore
from chatter_grpc.core.runs.checkpoints import CheckpointStore
from chatter_grpc.core.runs.run import RunStore
from chatter_grpc.core.runs.run_logs import RunLogStore
from chatter_grpc.core.search import SearchStore
from chatter_grpc.core.sessions import SessionStore
from chatter_grpc.core.signing_keys import SigningKeyStore
from chatter_grpc.core.starts import StartStore
from chatter_grpc.core.users import UserStore


class Transaction(Protocol):
    """One transaction: what its stores read is consistent, what they write is committed together or not at all."""

    @property
    def users(self) -> UserStore:
        """Accounts and owners."""
        ...

    @property
    def sessions(self) -> SessionStore:
        """Login sessions."""
        ...

    @property
    def api_keys(self) -> ApiKeyStore:
        """API keys."""
        ...

    @property
    def signing_keys(self) -> SigningKeyStore:
        """Keys that sign tokens."""
        ...

    @property
    def revocations(self) -> RevocationStore:
        """Revoked credentials."""
        ...

    @property
    def audit(self) -> AuditStore:
        """The audit log."""
        ...

    @property
    def requests(self) -> RequestStore:
        """Request ids."""
        ...

    @property
    def starts(self) -> StartStore:
        """What runs start from."""
        ...

    @property
    def conversations(self) -> ConversationStore:
        """Conversations."""
        ...

    @property
    def messages(self) -> MessageStore:
        """Messages."""
        ...

    @property
    def images(self) -> ImageStore:
        """The data of messages' images."""
        ...

    @property
    def forks(self) -> ForkStore:
        """What copies messages."""
        ...

    @property
    def search(self) -> SearchStore:
        """What finds conversations and messages."""
        ...

    @property
    def message_counts(self) -> MessageCountStore:
        """Messages by account and day."""
        ...

    @property
    def runs(self) -> RunStore:
        """Runs and their logs."""
        ...

    @property
    def run_logs(self) -> RunLogStore:
        """Logs as readers find them."""
        ...

    @property
    def ledger(self) -> LedgerStore:
        """What runs with a budget have reserved and taken."""
        ...

    @property
    def checkpoints(self) -> CheckpointStore:
        """Checkpoints of runs."""
        ...

    @property
    def housekeeping(self) -> HousekeepingStore:
        """What has had its time."""
        ...


class Storage(Protocol):
    """Opens transactions. Waiting for a connection, and every statement, has a deadline."""

    def read(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction that reads. Raises ``StorageUnavailable``, on opening or within."""
        ...

    def write(self, *, urgent: bool = False) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction that writes: committed when the block ends, rolled back when it raises.

        Where writers of a process take turns, an ``urgent`` one goes before those that queue.

        Raises ``StorageUnavailable``, on opening, within or on commit. A block in which a statement failed is not
        committed, even where it went on: its end raises that error again.
        """
        ...

    async def ping(self) -> None:
        """Ask the database for a sign of life; raises ``StorageUnavailable``."""
        ...
