"""Counts the messages of accounts by day."""

from datetime import date
from typing import Final

from sqlalchemy import ForeignKey, bindparam, func, select
from sqlalchemy.orm import Mapped, mapped_column

from chatter_grpc.adapters.sql.rows import Stored
from chatter_grpc.adapters.sql.statements import Either, Statements


class MessageCountRow(Stored):
    """How many messages an account had answered on a day, written as 2026-11-22; only while a limit was in force."""

    __tablename__ = "message_counts"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), primary_key=True)
    day: Mapped[str] = mapped_column(primary_key=True, index=True)
    count: Mapped[int]


_ADD: Final = Either(
    lambda insert_: (
        insert_(MessageCountRow.table())
        .on_conflict_do_update(
            index_elements=[MessageCountRow.user_id, MessageCountRow.day], set_={"count": MessageCountRow.count + 1}
        )
        .returning(MessageCountRow.count)
    )
)
_MONTH: Final = select(func.sum(MessageCountRow.count)).where(
    MessageCountRow.user_id == bindparam("user_id"),
    MessageCountRow.day >= bindparam("first"),
    MessageCountRow.day <= bindparam("day"),
)


class SqlMessageCounts:
    """Counts of messages in one transaction."""

    def __init__(self, statements: Statements) -> None:
        self._sql = statements

    async def add(self, user_id: str, day: date) -> int:
        """See ``MessageCountStore``."""
        (row,) = await self._sql.rows(_ADD, {"user_id": user_id, "day": day.isoformat(), "count": 1})
        return int(row[0])

    async def month(self, user_id: str, day: date) -> int:
        """See ``MessageCountStore``."""
        first = day.replace(day=1).isoformat()
        (row,) = await self._sql.rows(_MONTH, {"user_id": user_id, "first": first, "day": day.isoformat()})
        return int(row[0] or 0)
