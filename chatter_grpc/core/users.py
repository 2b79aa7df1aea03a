"""Accounts: people, administrators and services, and the owners that they stand for."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol


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
class User:
    """An account. ``password_hash`` is ``None`` on accounts that have none, such as services."""

    id: str
    username: str
    email: str
    display_name: str
    role: UserRole
    state: UserState
    password_hash: str | None = field(repr=False)
    created_at: datetime
    last_login_at: datetime | None = None


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

    async def note_login(self, user_id: str, at: datetime, password_hash: str | None = None) -> None:
        """Record a login, and the new hash where the password was hashed again."""
        ...

    async def hold_active(self, user_id: str) -> bool:
        """Say whether an account is active, and keep its state from changing until the transaction ends.

        What a transaction starts behind this is seen by whoever disables the account.
        """
        ...

    async def set_state(self, user_id: str, state: UserState) -> bool:
        """Set an account's state; return whether it was another one before."""
        ...

    async def subject_owner(self, service_id: str, subject: str, new_owner_id: str, now: datetime) -> str:
        """Return the owner id of a service's subject, made under ``new_owner_id`` on first use.

        Two transactions that name one new subject at once get the same id.
        """
        ...

    async def owners_of(self, user_id: str) -> tuple[str, ...]:
        """Return the ids of all owners that an account stands for: itself and its subjects."""
        ...
