"""Keeps signing keys."""

from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, insert, select, text, update
from sqlalchemy.orm import Mapped, mapped_column

from chatter_grpc.adapters.sql.rows import Stored
from chatter_grpc.adapters.sql.statements import Statements
from chatter_grpc.core.signing_keys import SigningKey


class SigningKeyRow(Stored):
    """A key pair, its private half sealed."""

    __tablename__ = "signing_keys"

    kid: Mapped[str] = mapped_column(primary_key=True)
    public: Mapped[bytes]
    sealed_private: Mapped[bytes]
    created_at: Mapped[datetime]
    retired_at: Mapped[datetime | None]


# Whoever comes second waits here. SQLite has one writer anyway.
_LOCK_ALL: Final = text("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE")
_ANY: Final = select(SigningKeyRow.kid).where(SigningKeyRow.retired_at.is_(None)).limit(1)
_ADD: Final = insert(SigningKeyRow.table())
_RETIRE: Final = (
    update(SigningKeyRow.table()).where(SigningKeyRow.retired_at.is_(None)).values(retired_at=bindparam("at"))
)
_LIST: Final = select(SigningKeyRow.table()).order_by(SigningKeyRow.created_at.desc(), SigningKeyRow.kid.desc())


class SqlSigningKeys:
    """Signing keys in one transaction."""

    def __init__(self, statements: Statements) -> None:
        self._sql = statements

    async def add_first(self, key: SigningKey) -> bool:
        """See ``SigningKeyStore``."""
        await self._lock_all()
        if await self._sql.row(_ANY) is not None:
            return False
        await self._add(key)
        return True

    async def rotate(self, key: SigningKey) -> None:
        """See ``SigningKeyStore``."""
        await self._lock_all()
        await self._sql.run(_RETIRE, {"at": key.created_at})
        await self._add(key)

    async def _lock_all(self) -> None:
        if self._sql.dialect == "postgresql":
            await self._sql.run(_LOCK_ALL)

    async def _add(self, key: SigningKey) -> None:
        values = {
            "kid": key.kid,
            "public": key.public,
            "sealed_private": key.sealed_private,
            "created_at": key.created_at,
            "retired_at": key.retired_at,
        }
        await self._sql.run(_ADD, values)

    async def list(self) -> tuple[SigningKey, ...]:
        """See ``SigningKeyStore``."""
        return tuple(
            SigningKey(
                kid=row.kid,
                public=row.public,
                sealed_private=row.sealed_private,
                created_at=row.created_at,
                retired_at=row.retired_at,
            )
            for row in await self._sql.rows(_LIST)
        )
