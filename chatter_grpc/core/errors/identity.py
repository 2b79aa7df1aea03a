"""Errors of credentials and accounts."""

from datetime import datetime

from chatter_grpc.core.errors.error import ChatterError


class CredentialsMissing(ChatterError):
    """This method needs credentials: send `authorization: Bearer <access token or API key>` metadata."""


class TokenInvalid(ChatterError):
    """The token is no valid token of this server for this use; log in again."""


class TokenExpired(ChatterError):
    """The token's time is over; use Refresh for an access token, Login for a refresh token."""

    def __init__(self, *, expired_at: datetime) -> None:
        super().__init__(expired_at=expired_at.isoformat())


class SessionRevoked(ChatterError):
    """The session was ended; log in again."""


class RefreshTokenReused(ChatterError):
    """The refresh token was used before, so its session is ended for safety; log in again."""


class ApiKeyInvalid(ChatterError):
    """The API key is unknown, expired or revoked; ask an administrator for another one."""


class LoginFailed(ChatterError):
    """No account has this name with this password."""


class AccountDisabled(ChatterError):
    """The account is disabled; ask an administrator."""


class ScopeMissing(ChatterError):
    """The credentials do not hold the scope that this method needs."""

    def __init__(self, *, scope: str) -> None:
        super().__init__(scope=scope)


class SubjectRefused(ChatterError):
    """Only credentials with act_as may name a subject, of 1 to 200 printable characters and no space around."""


class RegistrationClosed(ChatterError):
    """This server takes no registrations; ask its administrator for an account."""


class UsernameTaken(ChatterError):
    """Another account has this username; choose another one."""


class EmailTaken(ChatterError):
    """Another account has this email address; log in with it, or use another one."""


class SessionRequired(ChatterError):
    """This method works on a login session; call it with an access token instead of an API key."""


class PasswordWrong(ChatterError):
    """The current password is not the account's."""


class PasswordAbsent(ChatterError):
    """The account has no password that could be changed; it uses API keys."""


class ApiKeyNotFound(ChatterError):
    """There is no such API key."""

    def __init__(self, *, api_key_id: str) -> None:
        super().__init__(api_key_id=api_key_id)


class ApiKeysExhausted(ChatterError):
    """The account has as many valid API keys as it may have; revoke those that are no longer needed."""

    def __init__(self, *, max_keys: int) -> None:
        super().__init__(max_keys=str(max_keys))


class ScopeRefused(ChatterError):
    """Your own credentials do not hold this scope, so they cannot give it to an API key."""

    def __init__(self, *, scope: str) -> None:
        super().__init__(scope=scope)


class UserNotFound(ChatterError):
    """There is no such account."""

    def __init__(self, *, user_id: str) -> None:
        super().__init__(user_id=user_id)


class LastAdministrator(ChatterError):
    """This is the last active administrator; make another account an administrator first."""

    def __init__(self, *, user_id: str) -> None:
        super().__init__(user_id=user_id)


class SubjectUnexpected(ChatterError):
    """This changes the account of your credentials itself; call it without a subject."""
