"""The domain's errors: one class per ``ErrorReason`` of the contract, built from the facts of the case.

A class's docstring is its message, its name in UPPER_SNAKE_CASE is its reason. The status code of a reason stands in
the contract (``error_reason.proto``) and nowhere else.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldViolation:
    """One field that breaks a rule: its path as in ``parts[0].text.text``, and what is wrong with it."""

    field: str
    description: str


class ChatterError(Exception):
    """The root of all errors that a caller may see; never raised itself.

    ``metadata`` are the facts as strings, for the caller's program. ``retry_after`` is in seconds.
    """

    def __init__(self, *, retry_after: float | None = None, **metadata: str) -> None:
        self.metadata = metadata
        self.retry_after = retry_after
        super().__init__(self.message)

    @property
    def reason(self) -> str:
        """The name of the reason in the contract's catalogue, without its prefix."""
        return reason_of(type(self))

    @property
    def message(self) -> str:
        """One sentence for a person, which says what to do next where there is something to do."""
        return " ".join((self.__doc__ or "").split())


def reason_of(error: type[ChatterError]) -> str:
    """Return the reason that belongs to an error class: ``RunNotFound`` is ``RUN_NOT_FOUND``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", error.__name__).upper()


class RequestMalformed(ChatterError):
    """The request's bytes are no message of this method's type, or hold text that is not UTF-8."""


class RequestTooLarge(ChatterError):
    """The request is larger than this server takes; send less at once."""

    def __init__(self, *, size_bytes: int, max_bytes: int) -> None:
        super().__init__(size_bytes=str(size_bytes), max_bytes=str(max_bytes))


class FieldInvalid(ChatterError):
    """One or more fields break their rules; the details name each of them."""

    def __init__(self, violations: Sequence[FieldViolation]) -> None:
        self.violations = tuple(violations)
        super().__init__(fields=str(len(self.violations)))


class PageTokenInvalid(ChatterError):
    """The page token does not belong to this list with these arguments; begin again without one."""


class CursorInvalid(ChatterError):
    """The cursor does not belong to this run and caller; watch from the beginning without one."""


class ModelUnknown(ChatterError):
    """No configured provider offers this model; GetServerInfo lists those that are there."""

    def __init__(self, *, model: str) -> None:
        super().__init__(model=model)


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
    """Only credentials with the scope act_as may name a subject of 1 to 200 printable characters."""


class RegistrationClosed(ChatterError):
    """This server takes no registrations; ask its administrator for an account."""


class ConversationNotFound(ChatterError):
    """There is no such conversation."""

    def __init__(self, *, conversation_id: str) -> None:
        super().__init__(conversation_id=conversation_id)


class MessageNotFound(ChatterError):
    """There is no such message."""

    def __init__(self, *, message_id: str) -> None:
        super().__init__(message_id=message_id)


class RunNotFound(ChatterError):
    """There is no such run."""

    def __init__(self, *, run_id: str) -> None:
        super().__init__(run_id=run_id)


class WorkflowNotFound(ChatterError):
    """There is no such workflow."""

    def __init__(self, *, workflow_id: str) -> None:
        super().__init__(workflow_id=workflow_id)


class UsernameTaken(ChatterError):
    """Another account has this username; choose another one."""


class EmailTaken(ChatterError):
    """Another account has this email address; log in with it, or use another one."""


class RequestIdReused(ChatterError):
    """This request id was used with another payload; use a fresh one for each new request."""

    def __init__(self, *, request_id: str) -> None:
        super().__init__(request_id=request_id)


class EtagMismatch(ChatterError):
    """The resource was changed in between; read it again and repeat the change."""

    def __init__(self, *, etag: str) -> None:
        super().__init__(etag=etag)


class ConversationBusy(ChatterError):
    """Another run is at work in this conversation; watch it, cancel it, or wait for its end."""

    def __init__(self, *, conversation_id: str, run_id: str) -> None:
        super().__init__(conversation_id=conversation_id, run_id=run_id)


class ConversationArchived(ChatterError):
    """The conversation is archived; set its status to active before sending to it."""

    def __init__(self, *, conversation_id: str) -> None:
        super().__init__(conversation_id=conversation_id)


class TooManyRuns(ChatterError):
    """As many runs are at work for this owner as may be at once; wait for one to end, or use CreateRun."""

    def __init__(self, *, limit: int, retry_after: float = 1.0) -> None:
        super().__init__(retry_after=retry_after, limit=str(limit))


class TooManyPendingRuns(ChatterError):
    """As many runs wait for this owner as may at once; wait for some to begin, or cancel some."""

    def __init__(self, *, limit: int, retry_after: float = 10.0) -> None:
        super().__init__(retry_after=retry_after, limit=str(limit))


class MessageNotLast(ChatterError):
    """More was said after this message; fork the conversation before it, and send the question there."""

    def __init__(self, *, message_id: str, last_message_id: str) -> None:
        super().__init__(message_id=message_id, last_message_id=last_message_id)


class MessageBusy(ChatterError):
    """A run at work answers this message; delete it when the run has ended, or cancel the run."""

    def __init__(self, *, message_id: str, run_id: str) -> None:
        super().__init__(message_id=message_id, run_id=run_id)


class MessageNotRatable(ChatterError):
    """Only messages of the assistant are rated."""

    def __init__(self, *, message_id: str) -> None:
        super().__init__(message_id=message_id)


class ForkTooLarge(ChatterError):
    """There is more to copy than one fork takes; fork at an earlier message."""

    def __init__(self, *, messages: int, max_messages: int, size_bytes: int, max_bytes: int) -> None:
        super().__init__(
            messages=str(messages), max_messages=str(max_messages), bytes=str(size_bytes), max_bytes=str(max_bytes)
        )


class SearchQueryEmpty(ChatterError):
    """The query names no word to find; give at least one that is not excluded."""


class SessionRequired(ChatterError):
    """This method works on a login session; call it with an access token instead of an API key."""


class RunAlreadyFinished(ChatterError):
    """The run ended by itself before it could be cancelled."""

    def __init__(self, *, run_id: str, state: str) -> None:
        super().__init__(run_id=run_id, state=state)


class RateLimited(ChatterError):
    """Too many calls; wait as long as the details say."""

    def __init__(self, *, limit_class: str, retry_after: float) -> None:
        super().__init__(retry_after=retry_after, limit_class=limit_class)


class LoginThrottled(ChatterError):
    """Too many failed logins; wait as long as the details say."""

    def __init__(self, *, retry_after: float) -> None:
        super().__init__(retry_after=retry_after)


class TooManyStreams(ChatterError):
    """As many streams are open as one caller may have; end one of them first."""

    def __init__(self, *, limit: int, retry_after: float = 1.0) -> None:
        super().__init__(retry_after=retry_after, limit=str(limit))


class MessageQuotaExceeded(ChatterError):
    """The account has sent as many messages as it may in this day or month, which ends at midnight UTC."""

    def __init__(self, *, period: str, limit: int, retry_after: float) -> None:
        super().__init__(retry_after=retry_after, period=period, limit=str(limit))


class ProviderUnavailable(ChatterError):
    """The model's provider could not be reached or answered with a fault of its own."""

    def __init__(self, *, provider: str, status: int | None = None) -> None:
        super().__init__(provider=provider, status="none" if status is None else str(status))


class ProviderRateLimited(ChatterError):
    """The model's provider refused for its rate limit or quota."""

    def __init__(self, *, provider: str, retry_after: float | None = None) -> None:
        super().__init__(retry_after=retry_after, provider=provider)


class ProviderRefused(ChatterError):
    """The model's provider refused the server's credentials or the request; its operator has to look."""

    def __init__(self, *, provider: str, status: int) -> None:
        super().__init__(provider=provider, status=str(status))


class ProviderTimeout(ChatterError):
    """The model's provider did not answer in time. ``phase`` is ``connect``, ``first_token`` or ``idle``."""

    def __init__(self, *, provider: str, phase: str) -> None:
        super().__init__(provider=provider, phase=phase)


class ProviderStreamBroken(ChatterError):
    """The provider's stream ended before the answer did, or held what cannot be read."""

    def __init__(self, *, provider: str) -> None:
        super().__init__(provider=provider)


class ImagesNotTaken(ChatterError):
    """The model takes no images; GetServerInfo says which models do."""

    def __init__(self, *, model: str) -> None:
        super().__init__(model=model)


class ContextExceeded(ChatterError):
    """The message is longer than the model can read, its answer counted in; shorten it, or choose another model."""

    def __init__(self, *, model: str, estimated_tokens: int, context_tokens: int) -> None:
        super().__init__(model=model, estimated_tokens=str(estimated_tokens), context_tokens=str(context_tokens))


class ResponseSchemaViolated(ChatterError):
    """The model's answer did not keep the response schema, and neither did its second one."""

    def __init__(self, *, model: str) -> None:
        super().__init__(model=model)


class RunTimeout(ChatterError):
    """The run took longer than runs may take."""

    def __init__(self, *, limit_seconds: float) -> None:
        super().__init__(limit_seconds=f"{limit_seconds:g}")


class RunInterrupted(ChatterError):
    """The server that did the work went away; start the run again under another request id."""

    def __init__(self, *, run_id: str) -> None:
        super().__init__(run_id=run_id)


class StorageUnavailable(ChatterError):
    """The database cannot be reached or did not answer in time; repeat the call after a pause."""

    def __init__(self, *, retry_after: float = 1.0) -> None:
        super().__init__(retry_after=retry_after)


class RevocationsStale(ChatterError):
    """The server cannot tell at the moment which credentials were revoked; repeat the call after a pause."""

    def __init__(self, *, retry_after: float = 1.0) -> None:
        super().__init__(retry_after=retry_after)


class ServerStopping(ChatterError):
    """This server is about to stop; repeat the call, and another one will take it."""

    def __init__(self, *, retry_after: float = 0.1) -> None:
        super().__init__(retry_after=retry_after)


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


class Internal(ChatterError):
    """A fault of the server; its operator finds the cause by the id of the call or the run."""
