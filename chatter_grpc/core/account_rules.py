"""What the name, the email address and the password of an account must look like."""

import re
from typing import Final

from chatter_grpc.core.errors import FieldInvalid, FieldViolation

# No username holds an "@", so that a login is a username or an email address, never both.
_USERNAME: Final = re.compile(r"[a-zA-Z0-9_-]{3,50}")
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")
MAX_EMAIL_LENGTH: Final = 254
MAX_DISPLAY_NAME_LENGTH: Final = 100
MIN_PASSWORD_LENGTH: Final = 8
MAX_PASSWORD_LENGTH: Final = 128


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
    if password is not None and not MIN_PASSWORD_LENGTH <= len(password) <= MAX_PASSWORD_LENGTH:
        violations.append(FieldViolation(field="password", description="must have 8 to 128 characters"))
    if violations:
        raise FieldInvalid(violations)
