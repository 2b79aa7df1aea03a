"""Keeps request ids."""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import ForeignKey, bindparam, select
from sqlalchemy.orm import Mapped, mapped_column

from chatter_grpc.adapters.sql.rows import Stored
from chatter_grpc.adapters.sql.statements import Either, Prepared, Statements
from chatter_grpc.core.requests import LIFETIME, EarlierRequest, RequestKey


class RequestRow(Stored):
    """A request that was made, with what it made, for as long as it is remembered."""

    __tablename__ = "requests"

    owner_id: Mapped[str] = mapped_column(ForeignKey("owners.id"), primary_key=True)
    method: Mapped[str] = mapped_column(primary_key=True)
    request_id: Mapped[str] = mapped_column(primary_key=True)
    payload_hash: Mapped[bytes]
    resource_id: Mapped[str]
    expires_at: Mapped[datetime] = mapped_column(index=True)


# Writes nothing, and returns nothing, where a request that still counts holds the key.
CLAIM: Final = Prepared(
    Either(
        lambda insert_: (
            (new := insert_(RequestRow.table()))
            .on_conflict_do_update(
                index_elements=[RequestRow.owner_id, RequestRow.method, RequestRow.request_id],
                set_={
                    "payload_hash": new.excluded.payload_hash,
                    "resource_id": new.excluded.resource_id,
                    "expires_at": new.excluded.expires_at,
                },
                where=RequestRow.expires_at <= bindparam("now", type_=RequestRow.expires_at.type),
            )
            .returning(RequestRow.resource_id)
        )
    )
)
_EARLIER: Final = select(RequestRow.resource_id, RequestRow.payload_hash).where(
    RequestRow.owner_id == bindparam("owner_id"),
    RequestRow.method == bindparam("method"),
    RequestRow.request_id == bindparam("request_id"),
)


class SqlRequests:
    """Request ids in one transaction."""

    def __init__(self, statements: Statements) -> None:
        self._sql = statements

    async def claim(self, key: RequestKey, resource_id: str, now: datetime) -> EarlierRequest | None:
        """See ``RequestStore``."""
        names = {"owner_id": key.owner_id, "method": key.method, "request_id": key.request_id}
        values = claim_values(key, resource_id, now)
        while await self._sql.row(CLAIM, values) is None:
            earlier = await self._sql.row(_EARLIER, names)
            if earlier is not None:
                return EarlierRequest(resource_id=earlier.resource_id, payload_hash=earlier.payload_hash)
            # It was purged in between, so the key is free.
        return None


def claim_values(key: RequestKey, resource_id: str, now: datetime) -> dict[str, Any]:
    """Return the values of ``CLAIM``."""
    return {
        "owner_id": key.owner_id,
        "method": key.method,
        "request_id": key.request_id,
        "payload_hash": key.payload_hash,
        "resource_id": resource_id,
        "expires_at": now + LIFETIME,
        "now": now,
    }
