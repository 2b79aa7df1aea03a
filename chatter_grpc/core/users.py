"""Accounts: people, administrators and services, and the owners that they stand for."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from chatter_grpc.core.pages import Page, PageRequest


class UserRole(StrEnum):
    """What an account may do."""

    MEMBER = "member"
    SERVICE = "service"
    ADMIN = "admin"


class UserState(StrEnum):
    """Whether an account may be used."""

    ACTIVE = "active"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserLimits:
    """How many messages an account may send, its subjects' included. ``None``: the server's default; 0: none at all."""

    messages_per_day: int | None = None
    messages_per_month: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """An account. ``password_hash`` is ``None`` on accounts that have none, such as services.

    ``version`` grows with each change of what the account shows of itself, but not with its logins.
    """

    id: str
    username: str
    email: str
    display_name: str
    role: UserRole
    state: UserState
    password_hash: str | None = field(repr=False)
    created_at: datetime
    last_login_at: datetime | None = None
    limits: UserLimits = field(default_factory=UserLimits)
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class UserFilter:
    """Which accounts to list. ``text`` is found in the names and the email address, ASCII letters in any case."""

    role: UserRole | None = None
    state: UserState | None = None
    text: str = ""


class UserStore(Protocol):
    """Keeps accounts, inside a transaction. Usernames and emails are unique without regard to case."""

    async def add(self, user: User) -> None:
        """Insert an account and the owner that it is for itself (owner id = user id).

        Raises ``UsernameTaken`` or ``EmailTaken``.
        """
        ...

    async def get(self, user_id: str) -> User | None:
        """Return the account, or ``None``."""
        ...

    async def find(self, login: str) -> User | None:
        """Return the account with this username or email, without regard to case, or ``None``."""
        ...

    async def list(self, wanted: UserFilter, page: PageRequest) -> Page[User]:
        """Return a page of accounts, the latest created first."""
        ...

    async def lock(self, user_id: str) -> User | None:
        """Return the account, or ``None``, and keep others from changing it until the transaction ends."""
        ...

    async def lock_administrators(self) -> tuple[str, ...]:
        """Return the ids of the active administrators, and keep others from changing these until the transaction ends.

        To be taken before ``lock``, so that transactions that take both wait for each other in one order.
        """
        ...

    async def replace(self, user: User) -> None:
        """Set email, display name, role, state, limits and version of an account that is locked.

        Raises ``EmailTaken``, after which the transaction cannot go on.
        """
        ...

    async def note_login(self, user_id: str, at: datetime) -> None:
        """Record a login."""
        ...

    async def set_password(self, user_id: str, password_hash: str, *, instead_of: str) -> bool:
        """Set a password's hash where the account's is ``instead_of``; return whether it was."""
        ...

    async def hold_active(self, user_id: str) -> User | None:
        """Return an account if it is active, and keep it from changing until the transaction ends.

        What a transaction starts behind this is seen by whoever disables the account. Who starts something that
        counts against ``User.limits`` (messages of a day or a month) reads them here, with no statement of its own.
        """
        ...

    async def subject_owner(self, service_id: str, subject: str, new_owner_id: str, now: datetime) -> str:
        """Return the owner id of a service's subject, made under ``new_owner_id`` on first use.

        Two transactions that name one new subject at once get the same id.
        """
        ...

    async def owners_of(self, user_id: str) -> tuple[str, ...]:
        """Return the ids of all owners that an account stands for: itself and its subjects."""
        ...
