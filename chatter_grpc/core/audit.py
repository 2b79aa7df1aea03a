"""The audit log: who changed what by which call, written in the transaction that made the change."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Protocol

from chatter_grpc.core.ids import AUDIT, new_id
from chatter_grpc.core.pages import Page, PageRequest

# The outcome of what was done. What was refused has the reason of its error instead.
DONE: Final = "OK"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One row. It holds ids and names of methods; never content, credentials, or what a caller typed.

    ``actor_id`` is the account that acted, empty where none did: in a failed login, or by an operator on the command
    line. ``owner_id`` is whom it acted for. ``outcome`` is ``OK`` or the reason of an error. ``address`` is the network
    address of the call without its port, empty where there is none.
    """

    id: str
    at: datetime
    owner_id: str
    actor_id: str
    method: str
    resource_kind: str
    resource_id: str
    outcome: str
    call_id: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What is being done: the method that was called (or the command), by whom, and from where."""

    method: str
    call_id: str = ""
    address: str = ""
    actor_id: str = ""
    owner_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """What an action changed: ``kind`` as its table names it in the singular, such as ``api_key``."""

    kind: str
    id: str


class AuditStore(Protocol):
    """Keeps the audit log, inside a transaction. Rows are added and never changed."""

    async def add(self, action: Action, entry_id: str, resource: Resource, outcome: str) -> None:
        """Append a row, timed by the database's clock."""
        ...

    async def list(self, user_id: str, page: PageRequest) -> Page[AuditEntry]:
        """Return a page of the log, the newest first; of one account what it did and what was done to it, else all."""
        ...


# What the task at hand does, where that is to be audited: set by the edge for methods whose policy says so, and by the
# command line. It is not passed from hand to hand, since no use-case decides by it.
_CURRENT: Final[ContextVar[Action | None]] = ContextVar("chatter_action", default=None)


@contextmanager
def acting(action: Action) -> Iterator[None]:
    """Have what is recorded within the block belong to an action."""
    token = _CURRENT.set(action)
    try:
        yield
    finally:
        _CURRENT.reset(token)


async def record(store: AuditStore, kind: str, resource_id: str, *, actor_id: str = "", outcome: str = DONE) -> None:
    """Append what the action at hand did to a resource, in the transaction that does it; nothing where none is.

    ``actor_id`` is for methods that find out themselves who calls: an account, acting for itself.
    """
    action = _CURRENT.get()
    if action is None:
        return
    if actor_id:
        action = replace(action, actor_id=actor_id, owner_id=actor_id)
    await store.add(action, new_id(AUDIT), Resource(kind=kind, id=resource_id), outcome)
