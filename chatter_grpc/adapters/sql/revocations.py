"""Keeps the list of revocations."""

from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, insert, select
from sqlalchemy.orm import Mapped, mapped_column

from chatter_grpc.adapters.sql.columns import SERIAL, DatabaseTime
from chatter_grpc.adapters.sql.rows import Stored
from chatter_grpc.adapters.sql.statements import Statements
from chatter_grpc.core.revocations import Revocation, RevocationKind


class RevocationRow(Stored):
    """A revocation, timed by the database's clock."""

    __tablename__ = "revocations"

    id: Mapped[int] = mapped_column(SERIAL, primary_key=True)
    kind: Mapped[str]
    target_id: Mapped[str]
    at: Mapped[datetime] = mapped_column(index=True)


_ADD: Final = insert(RevocationRow.table()).values(
    kind=bindparam("kind"), target_id=bindparam("target_id"), at=DatabaseTime()
)
_SINCE: Final = (
    select(RevocationRow.kind, RevocationRow.target_id)
    .where(RevocationRow.at >= DatabaseTime("seconds"))
    .order_by(RevocationRow.at, RevocationRow.id)
)


class SqlRevocations:
    """Revocations in one transaction."""

    def __init__(self, statements: Statements) -> None:
        self._sql = statements

    async def add(self, revocations: tuple[Revocation, ...]) -> None:
        """See ``RevocationStore``."""
        if revocations:
            values = [{"kind": each.kind, "target_id": each.target_id} for each in revocations]
            await self._sql.run(_ADD, values)

    async def since(self, seconds: float) -> tuple[Revocation, ...]:
        """See ``RevocationStore``."""
        rows = await self._sql.rows(_SINCE, {"seconds": -seconds})
        return tuple(Revocation(kind=RevocationKind(row.kind), target_id=row.target_id) for row in rows)
