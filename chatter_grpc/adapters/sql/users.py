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
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from chatter_grpc.adapters.sql.columns import AnyText
from chatter_grpc.adapters.sql.paging import read_page
from chatter_grpc.adapters.sql.rows import Stored
from chatter_grpc.adapters.sql.statements import Either, Prepared, Statements
from chatter_grpc.core.errors import EmailTaken, UsernameTaken
from chatter_grpc.core.housekeeping.store import SYSTEM
from chatter_grpc.core.pages import Page, PageRequest
from chatter_grpc.core.users import User, UserFilter, UserLimits, UserRole, UserState


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
# The system's own is no account to anybody.
_ACCOUNTS: Final = select(UserRow.table()).where(UserRow.id != SYSTEM)
_GET: Final = _ACCOUNTS.where(UserRow.id == bindparam("user_id"))
_FIND: Final = (
    _ACCOUNTS.where(or_(UserRow.username_key == bindparam("login"), UserRow.email_key == bindparam("login")))
    # One account's username may be another's email: the username wins.
    .order_by(case((UserRow.username_key == bindparam("login"), 0), else_=1))
    .limit(1)
)
_TAKEN: Final = select(UserRow.username_key).where(
    or_(UserRow.username_key == bindparam("username_key"), UserRow.email_key == bindparam("email_key"))
)
_NOTE_LOGIN: Final = (
    update(UserRow.table()).where(UserRow.id == bindparam("user_id")).values(last_login_at=bindparam("at"))
)
_SET_PASSWORD: Final = (
    update(UserRow.table())
    .where(UserRow.id == bindparam("user_id"), UserRow.password_hash == bindparam("old_hash"))
    .values(password_hash=bindparam("new_hash"))
)
# Of PostgreSQL's locks the one that lets others refer to the account meanwhile.
_LOCK: Final = _GET.with_for_update(key_share=True)
_LOCK_ADMINISTRATORS: Final = (
    select(UserRow.id)
    .where(UserRow.role == UserRole.ADMIN.value, UserRow.state == UserState.ACTIVE.value)
    .order_by(UserRow.id)
    .with_for_update(key_share=True)
)
_OWN_FIELDS: Final = (
    "email",
    "email_key",
    "display_name",
    "role",
    "state",
    "messages_per_day",
    "messages_per_month",
    "version",
)
_REPLACE: Final = (
    update(UserRow.table())
    .where(UserRow.id == bindparam("user_id"))
    .values({name: bindparam(f"new_{name}") for name in _OWN_FIELDS})
)
HOLD_ACTIVE: Final = Prepared(_GET.where(UserRow.state == UserState.ACTIVE.value).with_for_update(read=True))
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
            **_own_values(user),
            "id": user.id,
            "username": user.username,
            "username_key": user.username.casefold(),
            "password_hash": user.password_hash,
            "created_at": user.created_at,
            "last_login_at": user.last_login_at,
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
        return user_of(await self._sql.row(_GET, {"user_id": user_id}))

    async def find(self, login: str) -> User | None:
        """See ``UserStore``."""
        return user_of(await self._sql.row(_FIND, {"login": login.casefold()}))

    async def list(self, wanted: UserFilter, page: PageRequest) -> Page[User]:
        """See ``UserStore``."""
        row = UserRow
        query = _ACCOUNTS
        if wanted.role is not None:
            query = query.where(row.role == wanted.role.value)
        if wanted.state is not None:
            query = query.where(row.state == wanted.state.value)
        if wanted.text:
            # `bytes` know the case of ASCII letters alone, as `lower` does here on both databases.
            sought = wanted.text.encode().lower().decode()
            lowered = (func.lower(field, type_=AnyText()) for field in (row.username, row.email, row.display_name))
            query = query.where(or_(*(field.contains(sought, autoescape=True) for field in lowered)))
        return await read_page(self._sql, query, (row.created_at, row.id), page, _user_of_row, descending=True)

    async def lock(self, user_id: str) -> User | None:
        """See ``UserStore``."""
        return user_of(await self._sql.row(_LOCK, {"user_id": user_id}))

    async def lock_administrators(self) -> tuple[str, ...]:
        """See ``UserStore``."""
        return tuple(row.id for row in await self._sql.rows(_LOCK_ADMINISTRATORS))

    async def replace(self, user: User) -> None:
        """See ``UserStore``."""
        values = {f"new_{name}": value for name, value in _own_values(user).items()}
        try:
            await self._sql.run(_REPLACE, {**values, "user_id": user.id})
        except IntegrityError as error:
            # Of what is set, the email address alone has to be unique.
            raise EmailTaken from error

    async def note_login(self, user_id: str, at: datetime) -> None:
        """See ``UserStore``."""
        await self._sql.run(_NOTE_LOGIN, {"user_id": user_id, "at": at})

    async def set_password(self, user_id: str, password_hash: str, *, instead_of: str) -> bool:
        """See ``UserStore``."""
        values = {"user_id": user_id, "new_hash": password_hash, "old_hash": instead_of}
        return await self._sql.count(_SET_PASSWORD, values) == 1

    async def hold_active(self, user_id: str) -> User | None:
        """See ``UserStore``."""
        return user_of(await self._sql.row(HOLD_ACTIVE, {"user_id": user_id}))

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


def _own_values(user: User) -> dict[str, Any]:
    return {
        "email": user.email,
        "email_key": user.email.casefold() or None,
        "display_name": user.display_name,
        "role": user.role,
        "state": user.state,
        "messages_per_day": user.limits.messages_per_day,
        "messages_per_month": user.limits.messages_per_month,
        "version": user.version,
    }


def user_of(row: Row[Any] | None) -> User | None:
    """Return the account in a row, ``None`` for none."""
    return None if row is None else _user_of_row(row)


def _user_of_row(row: Row[Any]) -> User:
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
