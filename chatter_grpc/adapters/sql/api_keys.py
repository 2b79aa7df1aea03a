"""Keeps API keys."""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import ForeignKey, Index, Row, bindparam, func, insert, or_, select, update
from sqlalchemy.orm import Mapped, mapped_column

from chatter_grpc.adapters.sql.columns import Document
from chatter_grpc.adapters.sql.paging import read_page
from chatter_grpc.adapters.sql.rows import Stored
from chatter_grpc.adapters.sql.statements import Statements
from chatter_grpc.core.api_keys import ApiKey
from chatter_grpc.core.pages import Page, PageRequest


class ApiKeyRow(Stored):
    """A key's record."""

    __tablename__ = "api_keys"
    __table_args__ = (Index(None, "user_id", "created_at", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str]
    prefix: Mapped[str] = mapped_column(unique=True)
    key_hash: Mapped[bytes]
    scopes: Mapped[frozenset[str]] = mapped_column(Document(frozenset[str]))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


_ADD: Final = insert(ApiKeyRow.table())
_FIND: Final = select(ApiKeyRow.table()).where(ApiKeyRow.prefix == bindparam("prefix"))
_GET: Final = select(ApiKeyRow.table()).where(
    ApiKeyRow.user_id == bindparam("user_id"), ApiKeyRow.id == bindparam("key")
)
_VALID: Final = (
    ApiKeyRow.revoked_at.is_(None),
    or_(ApiKeyRow.expires_at.is_(None), ApiKeyRow.expires_at > bindparam("at")),
)
_COUNT_VALID: Final = (
    select(func.count()).select_from(ApiKeyRow.table()).where(ApiKeyRow.user_id == bindparam("user_id"), *_VALID)
)
_HOLD_VALID: Final = (
    select(ApiKeyRow.table()).where(ApiKeyRow.id == bindparam("key"), *_VALID).with_for_update(read=True)
)
_REVOKE: Final = (
    update(ApiKeyRow.table()).where(ApiKeyRow.id == bindparam("key"), *_VALID).values(revoked_at=bindparam("at"))
)


class SqlApiKeys:
    """API keys in one transaction."""

    def __init__(self, statements: Statements) -> None:
        self._sql = statements

    async def add(self, key: ApiKey) -> None:
        """See ``ApiKeyStore``."""
        values = {
            "id": key.id,
            "user_id": key.user_id,
            "name": key.name,
            "prefix": key.prefix,
            "key_hash": key.key_hash,
            "scopes": key.scopes,
            "created_at": key.created_at,
            "expires_at": key.expires_at,
            "revoked_at": key.revoked_at,
        }
        await self._sql.run(_ADD, values)

    async def find(self, prefix: str) -> ApiKey | None:
        """See ``ApiKeyStore``."""
        row = await self._sql.row(_FIND, {"prefix": prefix})
        return None if row is None else _key_of(row)

    async def get(self, user_id: str, key_id: str) -> ApiKey | None:
        """See ``ApiKeyStore``."""
        row = await self._sql.row(_GET, {"user_id": user_id, "key": key_id})
        return None if row is None else _key_of(row)

    async def list(self, user_id: str, page: PageRequest) -> Page[ApiKey]:
        """See ``ApiKeyStore``."""
        query = select(ApiKeyRow.table()).where(ApiKeyRow.user_id == user_id)
        order = (ApiKeyRow.created_at, ApiKeyRow.id)
        return await read_page(self._sql, query, order, page, _key_of, descending=False)

    async def count_valid(self, user_id: str, at: datetime) -> int:
        """See ``ApiKeyStore``."""
        return int((await self._sql.run(_COUNT_VALID, {"user_id": user_id, "at": at})).scalar_one())

    async def hold_valid(self, key_id: str, at: datetime) -> ApiKey | None:
        """See ``ApiKeyStore``."""
        row = await self._sql.row(_HOLD_VALID, {"key": key_id, "at": at})
        return None if row is None else _key_of(row)

    async def revoke(self, key_id: str, at: datetime) -> bool:
        """See ``ApiKeyStore``."""
        return await self._sql.count(_REVOKE, {"key": key_id, "at": at}) == 1


def _key_of(row: Row[Any]) -> ApiKey:
    return ApiKey(
        id=row.id,
        user_id=row.user_id,
        name=row.name,
        prefix=row.prefix,
        key_hash=row.key_hash,
        scopes=row.scopes,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
