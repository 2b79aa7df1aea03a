"""Maps domain errors to gRPC statuses: the only place that does.

===================  =========================================  ========================================
what                 where it comes from                        example
===================  =========================================  ========================================
code                 the reason's option in the catalogue       RUN_NOT_FOUND: NOT_FOUND
message              the error class's docstring                "There is no such run."
ErrorInfo            reason, domain "chatter", metadata         RUN_NOT_FOUND {"run_id": "run_0192..."}
RequestInfo          the call id                                always
BadRequest           the violations, or the argument meant      FIELD_INVALID, PAGE_TOKEN_INVALID
RetryInfo            ``retry_after``                            RATE_LIMITED, STORAGE_UNAVAILABLE
QuotaFailure         RESOURCE_EXHAUSTED                         RATE_LIMITED
PreconditionFailure  FAILED_PRECONDITION                        CONVERSATION_BUSY
ResourceInfo         ``RESOURCES``                              RUN_NOT_FOUND, USERNAME_TAKEN
pushback             RESOURCE_EXHAUSTED, UNAVAILABLE            ``grpc-retry-pushback-ms: 1000``
===================  =========================================  ========================================
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from chatter_grpc._gen.chatter.options.v1 import error_pb2
from chatter_grpc._gen.chatter.v1 import error_reason_pb2
from chatter_grpc.core.errors import (
    ApiKeyNotFound,
    ChatterError,
    ConversationNotFound,
    CursorExpired,
    CursorInvalid,
    EmailTaken,
    FieldInvalid,
    FieldViolation,
    MessageNotFound,
    MessageQuotaExceeded,
    PageTokenInvalid,
    RunNotFound,
    SearchQueryEmpty,
    UsernameTaken,
    UserNotFound,
    WorkflowNotFound,
)
from chatter_grpc.rpc.faults import ContractFault

DOMAIN: Final = "chatter"
PREFIX: Final = "ERROR_REASON_"
PUSHBACK: Final = "grpc-retry-pushback-ms"
DEFAULT_PUSHBACK_SECONDS: Final = 1.0
# A stock client that retries by itself is silent meanwhile. Beyond this wait it is told not to (a negative pushback,
# gRFC A6), so that the caller sees the status and its RetryInfo at once.
LONGEST_PUSHBACK_SECONDS: Final = 5.0
# Clients take 8 KiB of metadata by default; the details, in base64, have to fit in beside the rest.
VIOLATIONS_BYTES: Final = 4096

# What a resource's errors call it, and where its id stands in their metadata.
RESOURCES: Final[Mapping[type[ChatterError], tuple[str, str]]] = {
    ConversationNotFound: ("chatter.v1.Conversation", "conversation_id"),
    MessageNotFound: ("chatter.v1.Message", "message_id"),
    RunNotFound: ("chatter.v1.Run", "run_id"),
    CursorExpired: ("chatter.v1.Run", "run_id"),
    WorkflowNotFound: ("chatter.v1.Workflow", "workflow_id"),
    ApiKeyNotFound: ("chatter.v1.ApiKey", "api_key_id"),
    UserNotFound: ("chatter.v1.User", "user_id"),
    UsernameTaken: ("chatter.v1.User", "username"),
    EmailTaken: ("chatter.v1.User", "email"),
}
# The argument that an error without violations of its own means.
ARGUMENTS: Final[Mapping[type[ChatterError], str]] = {
    PageTokenInvalid: "page_token",
    CursorInvalid: "cursor",
    SearchQueryEmpty: "query",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """How a call is refused: the arguments of ``ServicerContext.abort``."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...]


def read_catalogue() -> dict[str, grpc.StatusCode]:
    """Return the status code of each reason (without its prefix) as the contract states it.

    Raises ``ContractFault`` on a reason without a code.
    """
    codes = {code.value[0]: code for code in grpc.StatusCode}
    catalogue = {}
    for value in error_reason_pb2.ErrorReason.DESCRIPTOR.values:
        if value.number == 0:
            continue
        number = value.GetOptions().Extensions[error_pb2.error].code
        if number == error_pb2.CODE_UNSPECIFIED or number not in codes:
            raise ContractFault(f"{value.name} has no status code: give it the option chatter.options.v1.error")
        catalogue[value.name.removeprefix(PREFIX)] = codes[number]
    return catalogue


CATALOGUE: Final[Mapping[str, grpc.StatusCode]] = read_catalogue()


def reason_number(reason: str) -> error_reason_pb2.ErrorReason.ValueType:
    """Return the catalogue's number of a reason; raises ``ValueError`` on a name that it does not have."""
    return error_reason_pb2.ErrorReason.Value(PREFIX + reason)


def refusal_of(error: ChatterError, call_id: str) -> Refusal:
    """Return the status of a domain error, with all its details and, where it is due, the pushback."""
    code = CATALOGUE[error.reason]
    status = status_pb2.Status(code=code.value[0], message=error.message)
    for detail in details_of(error, code, call_id):
        status.details.add().Pack(detail)
    packed: Any = rpc_status.to_status(status)
    return Refusal(
        code=packed.code,
        details=packed.details,
        trailing_metadata=(*packed.trailing_metadata, *pushback_of(error, code)),
    )


def details_of(error: ChatterError, code: grpc.StatusCode, call_id: str) -> Iterable[Message]:
    """Yield the details of an error, ErrorInfo first."""
    yield error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    yield error_details_pb2.RequestInfo(request_id=call_id)
    if isinstance(error, FieldInvalid):
        yield bad_request(error.violations)
    elif type(error) in ARGUMENTS:
        yield bad_request([FieldViolation(field=ARGUMENTS[type(error)], description=error.message)])
    if error.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(milliseconds(error.retry_after))
        yield retry
    if type(error) in RESOURCES:
        kind, key = RESOURCES[type(error)]
        yield error_details_pb2.ResourceInfo(
            resource_type=kind, resource_name=error.metadata.get(key, ""), description=error.message
        )
    subject = next(iter(error.metadata.values()), "")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        quota = error_details_pb2.QuotaFailure()
        quota.violations.add(subject=subject or error.reason.lower(), description=error.message)
        yield quota
    elif code is grpc.StatusCode.FAILED_PRECONDITION:
        precondition = error_details_pb2.PreconditionFailure()
        precondition.violations.add(type=error.reason, subject=subject, description=error.message)
        yield precondition


def bad_request(violations: Iterable[FieldViolation]) -> error_details_pb2.BadRequest:
    """Return the violations as a detail, as many as metadata can carry; what is left out is counted in the last."""
    detail = error_details_pb2.BadRequest()
    size = left_out = 0
    for violation in violations:
        size += len(violation.field.encode()) + len(violation.description.encode()) + 8
        if size <= VIOLATIONS_BYTES:
            detail.field_violations.add(field=violation.field, description=violation.description)
        else:
            left_out += 1
    if left_out:
        detail.field_violations.add(description=f"and {left_out} more")
    return detail


def pushback_of(error: ChatterError, code: grpc.StatusCode) -> tuple[tuple[str, str], ...]:
    """Return what tells a client that retries by itself when to, or that it should not."""
    if code not in {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}:
        return ()
    seconds = DEFAULT_PUSHBACK_SECONDS if error.retry_after is None else error.retry_after
    never = seconds > LONGEST_PUSHBACK_SECONDS or isinstance(error, MessageQuotaExceeded)
    wait = -1 if never else milliseconds(seconds)
    return ((PUSHBACK, str(wait)),)


def milliseconds(seconds: float) -> int:
    """Round a wait up to whole milliseconds: a repeat just before its time is refused again."""
    return -int(-seconds * 1000 // 1)
