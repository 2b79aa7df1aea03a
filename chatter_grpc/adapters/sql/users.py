"""Keeps accounts and owners."""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ForeignKey,
    Index,
    Row,
    UniqueConstraint,
    bindparam,
    case,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.orm import Mapped, mapped_column

from chatter_grpc.adapters.sql.rows import Stored
from chatter_grpc.adapters.sql.statements import Either, Statements
from chatter_grpc.core.errors import EmailTaken, UsernameTaken
from chatter_grpc.core.users import User, UserLimits, UserRole, UserState


class UserRow(Stored):
    """An account. The keys are what its names are compared by; without an email there is none to compare."""

    __tablename__ = "users"
    __table_args__ = (Index(None, "created_at", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    username: Mapped[str]
    username_key: Mapped[str] = mapped_column(unique=True)
    email: Mapped[str]
    email_key: Mapped[str | None] = mapped_column(unique=True)
    display_name: Mapped[str]
    role: Mapped[str]
    state: Mapped[str]
    password_hash: Mapped[str | None]
    created_at: Mapped[datetime]
    last_login_at: Mapped[datetime | None]
    messages_per_day: Mapped[int | None]
    messages_per_month: Mapped[int | None]
    version: Mapped[int] = mapped_column(server_default=text("1"))


class OwnerRow(Stored):
    """Who owns resources: an account itself, with an empty subject, or a subject of a service."""

    __tablename__ = "owners"
    __table_args__ = (UniqueConstraint("user_id", "subject"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    subject: Mapped[str]
    created_at: Mapped[datetime]


_ADD: Final = Either(lambda insert_: insert_(UserRow.table()).on_conflict_do_nothing().returning(UserRow.id))
_ADD_OWNER: Final = insert(OwnerRow.table())
_ADD_SUBJECT: Final = Either(
    lambda insert_: (
        insert_(OwnerRow.table())
        .on_conflict_do_nothing(index_elements=[OwnerRow.user_id, OwnerRow.subject])
        .returning(OwnerRow.id)
    )
)
_GET: Final = select(UserRow.table()).where(UserRow.id == bindparam("user_id"))
_FIND: Final = (
    select(UserRow.table())
    .where(or_(UserRow.username_key == bindparam("login"), UserRow.email_key == bindparam("login")))
    # One account's username may be another's email: the username wins.
    .order_by(case((UserRow.username_key == bindparam("login"), 0), else_=1))
    .limit(1)
)
_TAKEN: Final = select(UserRow.username_key).where(
    or_(UserRow.username_key == bindparam("username_key"), UserRow.email_key == bindparam("email_key"))
)
_NOTE_LOGIN: Final = (
    update(UserRow.table())
    .where(UserRow.id == bindparam("user_id"))
    .values(
        last_login_at=bindparam("at"),
        password_hash=func.coalesce(bindparam("new_hash"), UserRow.password_hash),
    )
)
_HOLD_ACTIVE: Final = _GET.where(UserRow.state == UserState.ACTIVE.value).with_for_update(read=True)
_SET_STATE: Final = (
    update(UserRow.table())
    .where(UserRow.id == bindparam("user_id"), UserRow.state != bindparam("new_state"))
    .values(state=bindparam("new_state"))
)
_OWNER_OF: Final = select(OwnerRow.id).where(
    OwnerRow.user_id == bindparam("user_id"), OwnerRow.subject == bindparam("subject")
)
_OWNERS: Final = select(OwnerRow.id).where(OwnerRow.user_id == bindparam("user_id")).order_by(OwnerRow.subject)


class SqlUsers:
    """Accounts in one transaction."""

    def __init__(self, statements: Statements) -> None:
        self._sql = statements

    async def add(self, user: User) -> None:
        """See ``UserStore``."""
        values = {
            "id": user.id,
            "username": user.username,
            "username_key": user.username.casefold(),
            "email": user.email,
            "email_key": user.email.casefold() or None,
            "display_name": user.display_name,
            "role": user.role,
            "state": user.state,
            "password_hash": user.password_hash,
            "created_at": user.created_at,
            "last_login_at": user.last_login_at,
            "messages_per_day": user.limits.messages_per_day,
            "messages_per_month": user.limits.messages_per_month,
            "version": user.version,
        }
        if await self._sql.row(_ADD, values) is None:
            taken = [row.username_key for row in await self._sql.rows(_TAKEN, values)]
            if values["username_key"] in taken:
                raise UsernameTaken
            if taken:
                raise EmailTaken
            raise AssertionError("two accounts with one id")
        owner = {"id": user.id, "user_id": user.id, "subject": "", "created_at": user.created_at}
        await self._sql.run(_ADD_OWNER, owner)

    async def get(self, user_id: str) -> User | None:
        """See ``UserStore``."""
        return _user_of(await self._sql.row(_GET, {"user_id": user_id}))

    async def find(self, login: str) -> User | None:
        """See ``UserStore``."""
        return _user_of(await self._sql.row(_FIND, {"login": login.casefold()}))

    async def note_login(self, user_id: str, at: datetime, password_hash: str | None = None) -> None:
        """See ``UserStore``."""
        await self._sql.run(_NOTE_LOGIN, {"user_id": user_id, "at": at, "new_hash": password_hash})

    async def hold_active(self, user_id: str) -> User | None:
        """See ``UserStore``."""
        return _user_of(await self._sql.row(_HOLD_ACTIVE, {"user_id": user_id}))

    async def set_state(self, user_id: str, state: UserState) -> bool:
        """See ``UserStore``."""
        return await self._sql.count(_SET_STATE, {"user_id": user_id, "new_state": state}) == 1

    async def subject_owner(self, service_id: str, subject: str, new_owner_id: str, now: datetime) -> str:
        """See ``UserStore``."""
        known = {"user_id": service_id, "subject": subject}
        row = await self._sql.row(_OWNER_OF, known)
        if row is None:
            row = await self._sql.row(_ADD_SUBJECT, {**known, "id": new_owner_id, "created_at": now})
        if row is None:
            # Another transaction made it in between, and has committed by now.
            row = (await self._sql.run(_OWNER_OF, known)).one()
        return str(row.id)

    async def owners_of(self, user_id: str) -> tuple[str, ...]:
        """See ``UserStore``."""
        return tuple(row.id for row in await self._sql.rows(_OWNERS, {"user_id": user_id}))


def _user_of(row: Row[Any] | None) -> User | None:
    if row is None:
        return None
    return User(
        id=row.id,
        username=row.username,
        email=row.email,
        display_name=row.display_name,
        role=UserRole(row.role),
        state=UserState(row.state),
        password_hash=row.password_hash,
        created_at=row.created_at,
        last_login_at=row.last_login_at,
        limits=UserLimits(messages_per_day=row.messages_per_day, messages_per_month=row.messages_per_month),
        version=row.version,
    )
