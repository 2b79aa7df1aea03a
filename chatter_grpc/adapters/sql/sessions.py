"""Keeps login sessions and their refresh tokens."""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import ForeignKey, Index, Row, bindparam, insert, select, text, update
from sqlalchemy.orm import Mapped, mapped_column

from chatter_grpc.adapters.sql.rows import Stored
from chatter_grpc.adapters.sql.statements import Statements
from chatter_grpc.core.sessions import RefreshToken, Session

_REVOKED: Final = text("revoked_at IS NOT NULL")
_SUCCEEDED: Final = text("successor_id IS NOT NULL")


class SessionRow(Stored):
    """A login session."""

    __tablename__ = "sessions"
    __table_args__ = (Index("ix_sessions_revoked_at", "revoked_at", sqlite_where=_REVOKED, postgresql_where=_REVOKED),)

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    revoked_at: Mapped[datetime | None]


class RefreshTokenRow(Stored):
    """A link of a session's chain of refresh tokens."""

    __tablename__ = "refresh_tokens"
    __table_args__ = (
        Index("ix_refresh_tokens_successor_id", "successor_id", sqlite_where=_SUCCEEDED, postgresql_where=_SUCCEEDED),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id"), index=True)
    kid: Mapped[str]
    issued_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    rotated_at: Mapped[datetime | None]
    successor_id: Mapped[str | None] = mapped_column(ForeignKey("refresh_tokens.id"))


_ADD: Final = insert(SessionRow.table())
_GET: Final = select(SessionRow.table()).where(SessionRow.id == bindparam("session_id"))
_ADD_TOKEN: Final = insert(RefreshTokenRow.table())
_GET_TOKEN: Final = select(RefreshTokenRow.table()).where(RefreshTokenRow.id == bindparam("token_id"))
_LOCK_TOKEN: Final = _GET_TOKEN.with_for_update()
_ROTATE: Final = (
    update(RefreshTokenRow.table())
    .where(RefreshTokenRow.id == bindparam("token_id"))
    .values(rotated_at=bindparam("at"), successor_id=bindparam("successor"))
)
_EXTEND: Final = (
    update(SessionRow.table()).where(SessionRow.id == bindparam("session")).values(expires_at=bindparam("until"))
)
_OPEN: Final = (SessionRow.revoked_at.is_(None), SessionRow.expires_at > bindparam("at"))
_REVOKE: Final = (
    update(SessionRow.table()).where(SessionRow.id == bindparam("session"), *_OPEN).values(revoked_at=bindparam("at"))
)
_REVOKE_ALL: Final = (
    update(SessionRow.table())
    .where(SessionRow.user_id == bindparam("user"), SessionRow.id != bindparam("but"), *_OPEN)
    .values(revoked_at=bindparam("at"))
    .returning(SessionRow.id)
)
_HOLD_OPEN: Final = (
    select(SessionRow.id).where(SessionRow.id == bindparam("session"), *_OPEN).with_for_update(read=True)
)


class SqlSessions:
    """Sessions in one transaction."""

    def __init__(self, statements: Statements) -> None:
        self._sql = statements

    async def add(self, session: Session, token: RefreshToken) -> None:
        """See ``SessionStore``."""
        values = {
            "id": session.id,
            "user_id": session.user_id,
            "created_at": session.created_at,
            "expires_at": session.expires_at,
            "revoked_at": session.revoked_at,
        }
        await self._sql.run(_ADD, values)
        await self._sql.run(_ADD_TOKEN, _token_values(token))

    async def get(self, session_id: str) -> Session | None:
        """See ``SessionStore``."""
        row = await self._sql.row(_GET, {"session_id": session_id})
        if row is None:
            return None
        return Session(
            id=row.id,
            user_id=row.user_id,
            created_at=row.created_at,
            expires_at=row.expires_at,
            revoked_at=row.revoked_at,
        )

    async def lock_token(self, token_id: str) -> RefreshToken | None:
        """See ``SessionStore``."""
        return _token_of(await self._sql.row(_LOCK_TOKEN, {"token_id": token_id}))

    async def get_token(self, token_id: str) -> RefreshToken | None:
        """See ``SessionStore``."""
        return _token_of(await self._sql.row(_GET_TOKEN, {"token_id": token_id}))

    async def rotate(self, token_id: str, successor: RefreshToken, at: datetime) -> None:
        """See ``SessionStore``."""
        await self._sql.run(_ADD_TOKEN, _token_values(successor))
        await self._sql.run(_ROTATE, {"token_id": token_id, "at": at, "successor": successor.id})
        await self._sql.run(_EXTEND, {"session": successor.session_id, "until": successor.expires_at})

    async def revoke(self, session_id: str, at: datetime) -> bool:
        """See ``SessionStore``."""
        return await self._sql.count(_REVOKE, {"session": session_id, "at": at}) == 1

    async def revoke_all(self, user_id: str, at: datetime, *, but: str = "") -> tuple[str, ...]:
        """See ``SessionStore``."""
        return tuple(row.id for row in await self._sql.rows(_REVOKE_ALL, {"user": user_id, "at": at, "but": but}))

    async def hold_open(self, session_id: str, at: datetime) -> bool:
        """See ``SessionStore``."""
        return await self._sql.row(_HOLD_OPEN, {"session": session_id, "at": at}) is not None


def _token_values(token: RefreshToken) -> dict[str, Any]:
    return {
        "id": token.id,
        "session_id": token.session_id,
        "kid": token.kid,
        "issued_at": token.issued_at,
        "expires_at": token.expires_at,
        "rotated_at": token.rotated_at,
        "successor_id": token.successor_id,
    }


def _token_of(row: Row[Any] | None) -> RefreshToken | None:
    if row is None:
        return None
    return RefreshToken(
        id=row.id,
        session_id=row.session_id,
        kid=row.kid,
        issued_at=row.issued_at,
        expires_at=row.expires_at,
        rotated_at=row.rotated_at,
        successor_id=row.successor_id,
    )
