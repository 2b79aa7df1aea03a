"""Keeps the audit log."""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Index, Row, bindparam, insert, or_, select
from sqlalchemy.orm import Mapped, mapped_column

from chatter_grpc.adapters.sql.columns import DatabaseTime
from chatter_grpc.adapters.sql.paging import read_page
from chatter_grpc.adapters.sql.rows import Stored
from chatter_grpc.adapters.sql.statements import Statements
from chatter_grpc.core.audit import Action, AuditEntry, Resource
from chatter_grpc.core.pages import Page, PageRequest


class AuditRow(Stored):
    """What somebody did. It refers to nothing, so that it outlives what it tells of."""

    __tablename__ = "audit_log"
    __table_args__ = (
        Index(None, "at", "id"),
        Index(None, "actor_id", "at", "id"),
        Index(None, "resource_id", "at", "id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    owner_id: Mapped[str]
    actor_id: Mapped[str]
    method: Mapped[str]
    resource_kind: Mapped[str]
    resource_id: Mapped[str]
    outcome: Mapped[str]
    call_id: Mapped[str]
    address: Mapped[str]
    at: Mapped[datetime]


_NAMES: Final = tuple(column.key for column in AuditRow.table().columns if column.key != "at")
_ADD: Final = insert(AuditRow.table()).values({**{name: bindparam(name) for name in _NAMES}, "at": DatabaseTime()})


class SqlAudit:
    """The audit log in one transaction."""

    def __init__(self, statements: Statements) -> None:
        self._sql = statements

    async def add(self, action: Action, entry_id: str, resource: Resource, outcome: str) -> None:
        """See ``AuditStore``."""
        values = {
            "id": entry_id,
            "owner_id": action.owner_id,
            "actor_id": action.actor_id,
            "method": action.method,
            "resource_kind": resource.kind,
            "resource_id": resource.id,
            "outcome": outcome,
            "call_id": action.call_id,
            "address": action.address,
        }
        await self._sql.run(_ADD, values)

    async def list(self, user_id: str, page: PageRequest) -> Page[AuditEntry]:
        """See ``AuditStore``."""
        query = select(AuditRow.table())
        if user_id:
            query = query.where(or_(AuditRow.actor_id == user_id, AuditRow.resource_id == user_id))
        return await read_page(self._sql, query, (AuditRow.at, AuditRow.id), page, _entry_of, descending=True)


def _entry_of(row: Row[Any]) -> AuditEntry:
    return AuditEntry(
        id=row.id,
        at=row.at,
        owner_id=row.owner_id,
        actor_id=row.actor_id,
        method=row.method,
        resource_kind=row.resource_kind,
        resource_id=row.resource_id,
        outcome=row.outcome,
        call_id=row.call_id,
        address=row.address,
    )
