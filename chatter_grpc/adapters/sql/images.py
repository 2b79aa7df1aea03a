"""Keeps the data of messages' images."""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from sqlalchemy import ForeignKey, LargeBinary, bindparam, insert, select
from sqlalchemy.orm import Mapped, mapped_column

from chatter_grpc.adapters.sql.columns import Among
from chatter_grpc.adapters.sql.rows import Stored
from chatter_grpc.adapters.sql.statements import Statements
from chatter_grpc.core.messages import ImagePart, Message


class MessageImageRow(Stored):
    """An image. ``position`` is its place among the parts of its message, from 0; it goes with the message's row."""

    __tablename__ = "message_images"

    owner_id: Mapped[str] = mapped_column(ForeignKey("owners.id"))
    message_id: Mapped[str] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    media_type: Mapped[str]
    size_bytes: Mapped[int]
    sha256: Mapped[str]
    data: Mapped[bytes] = mapped_column(LargeBinary())


_ADD: Final = insert(MessageImageRow.table())
_READ: Final = select(MessageImageRow.message_id, MessageImageRow.position, MessageImageRow.data).where(
    MessageImageRow.owner_id == bindparam("owner"), Among(MessageImageRow.message_id, "messages")
)


class SqlImages:
    """Images in one transaction."""

    def __init__(self, statements: Statements) -> None:
        self._sql = statements

    async def add(self, messages: Iterable[Message]) -> None:
        """See ``ImageStore``."""
        rows = [
            {
                "owner_id": message.owner_id,
                "message_id": message.id,
                "position": position,
                "media_type": part.media_type,
                "size_bytes": part.size_bytes,
                "sha256": part.sha256,
                "data": part.data,
            }
            for message in messages
            for position, part in enumerate(message.parts)
            if isinstance(part, ImagePart) and part.data is not None
        ]
        if rows:
            await self._sql.run(_ADD, rows)

    async def read(self, owner_id: str, message_ids: Collection[str]) -> Mapping[str, Mapping[int, bytes]]:
        """See ``ImageStore``."""
        found: dict[str, dict[int, bytes]] = {}
        if message_ids:
            for row in await self._sql.rows(_READ, {"owner": owner_id, "messages": tuple(message_ids)}):
                found.setdefault(row.message_id, {})[row.position] = row.data
        return found
