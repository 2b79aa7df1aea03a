"""What the name, the email address, the password and the API keys of an account must look like."""

import re
from collections.abc import Collection
from datetime import datetime
from typing import Final

from chatter_grpc.core.callers import ADMIN_SCOPES, SCOPES_OF, Scope
from chatter_grpc.core.errors import FieldInvalid, FieldViolation
from chatter_grpc.core.users import UserRole

# No username holds an "@", so that a login is a username or an email address, never both.
_USERNAME: Final = re.compile(r"[a-zA-Z0-9_-]{3,50}")
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")
MAX_EMAIL_LENGTH: Final = 254
MAX_DISPLAY_NAME_LENGTH: Final = 100
MIN_PASSWORD_LENGTH: Final = 8
MAX_PASSWORD_LENGTH: Final = 128
MAX_KEY_NAME_LENGTH: Final = 100


def require_valid_account(*, username: str, email: str | None, display_name: str, password: str | None) -> None:
    """Raise ``FieldInvalid`` naming every field that breaks its rule; ``None`` for what the account does not have."""
    violations = []
    if not _USERNAME.fullmatch(username):
        violations.append(
            FieldViolation(field="username", description="must have 3 to 50 of the characters a-z, A-Z, 0-9, _ and -")
        )
    if email is not None and (len(email) > MAX_EMAIL_LENGTH or not _EMAIL.fullmatch(email)):
        violations.append(FieldViolation(field="email", description="must be an email address of up to 254 characters"))
    if len(display_name) > MAX_DISPLAY_NAME_LENGTH:
        violations.append(FieldViolation(field="display_name", description="must have up to 100 characters"))
    if password is not None:
        violations += _password_violations(password, "password")
    if violations:
        raise FieldInvalid(violations)


def require_valid_password(password: str, field: str) -> None:
    """Raise ``FieldInvalid`` naming ``field`` where this may not be a password."""
    if violations := _password_violations(password, field):
        raise FieldInvalid(violations)


def _password_violations(password: str, field: str) -> list[FieldViolation]:
    if MIN_PASSWORD_LENGTH <= len(password) <= MAX_PASSWORD_LENGTH:
        return []
    return [FieldViolation(field=field, description="must have 8 to 128 characters")]


def require_valid_key(
    *, name: str, scopes: Collection[str], role: UserRole, expires_at: datetime | None, now: datetime
) -> None:
    """Raise ``FieldInvalid`` naming every field of a key that breaks its rule, for an account of this role."""
    violations = []
    if not name or len(name) > MAX_KEY_NAME_LENGTH or not name.isprintable():
        violations.append(FieldViolation(field="name", description="must have 1 to 100 printable characters"))
    if not scopes or not set(scopes) <= set(Scope):
        known = ", ".join(Scope)
        violations.append(FieldViolation(field="scopes", description=f"must be one or more of {known}"))
    beyond = (set(scopes) & set(Scope)) - SCOPES_OF[role]
    if Scope.ACT_AS in beyond:
        violations.append(FieldViolation(field="scopes", description="act_as is for service accounts alone"))
    if beyond & ADMIN_SCOPES:
        concerned = " and ".join(sorted(beyond & ADMIN_SCOPES))
        violations.append(FieldViolation(field="scopes", description=f"{concerned}: for administrators alone"))
    if expires_at is not None and expires_at <= now:
        violations.append(FieldViolation(field="expire_time", description="must lie in the future"))
    if violations:
        raise FieldInvalid(violations)
