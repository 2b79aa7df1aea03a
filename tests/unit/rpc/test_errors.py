"""Each domain error has its status: code, details and pushback, as a table."""

from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as PackedAny
from google.rpc import error_details_pb2, status_pb2

from chatter_grpc.core import errors
from chatter_grpc.core.errors import ChatterError, FieldInvalid, FieldViolation
from chatter_grpc.rpc.errors import CATALOGUE, VIOLATIONS_BYTES, Refusal, bad_request, refusal_of
from tests.support.errors import EXAMPLES

DETAILS = "grpc-status-details-bin"
PUSHBACK = "grpc-retry-pushback-ms"

# Reason: code, details beside ErrorInfo and RequestInfo, pushback in milliseconds.
TABLE: dict[str, tuple[str, list[str], str | None]] = {
    "REQUEST_MALFORMED": ("INVALID_ARGUMENT", [], None),
    "REQUEST_TOO_LARGE": ("INVALID_ARGUMENT", [], None),
    "FIELD_INVALID": ("INVALID_ARGUMENT", ["BadRequest"], None),
    "PAGE_TOKEN_INVALID": ("INVALID_ARGUMENT", ["BadRequest"], None),
    "CURSOR_INVALID": ("INVALID_ARGUMENT", ["BadRequest"], None),
    "MODEL_UNKNOWN": ("INVALID_ARGUMENT", [], None),
    "CREDENTIALS_MISSING": ("UNAUTHENTICATED", [], None),
    "TOKEN_INVALID": ("UNAUTHENTICATED", [], None),
    "TOKEN_EXPIRED": ("UNAUTHENTICATED", [], None),
    "SESSION_REVOKED": ("UNAUTHENTICATED", [], None),
    "REFRESH_TOKEN_REUSED": ("UNAUTHENTICATED", [], None),
    "API_KEY_INVALID": ("UNAUTHENTICATED", [], None),
    "LOGIN_FAILED": ("UNAUTHENTICATED", [], None),
    "ACCOUNT_DISABLED": ("PERMISSION_DENIED", [], None),
    "SCOPE_MISSING": ("PERMISSION_DENIED", [], None),
    "SUBJECT_REFUSED": ("PERMISSION_DENIED", [], None),
    "REGISTRATION_CLOSED": ("PERMISSION_DENIED", [], None),
    "CONVERSATION_NOT_FOUND": ("NOT_FOUND", ["ResourceInfo"], None),
    "MESSAGE_NOT_FOUND": ("NOT_FOUND", ["ResourceInfo"], None),
    "RUN_NOT_FOUND": ("NOT_FOUND", ["ResourceInfo"], None),
    "WORKFLOW_NOT_FOUND": ("NOT_FOUND", ["ResourceInfo"], None),
    "USERNAME_TAKEN": ("ALREADY_EXISTS", ["ResourceInfo"], None),
    "EMAIL_TAKEN": ("ALREADY_EXISTS", ["ResourceInfo"], None),
    "REQUEST_ID_REUSED": ("ALREADY_EXISTS", [], None),
    "ETAG_MISMATCH": ("ABORTED", [], None),
    "CONVERSATION_BUSY": ("FAILED_PRECONDITION", ["PreconditionFailure"], None),
    "CONVERSATION_ARCHIVED": ("FAILED_PRECONDITION", ["PreconditionFailure"], None),
    "SESSION_REQUIRED": ("FAILED_PRECONDITION", ["PreconditionFailure"], None),
    "RUN_ALREADY_FINISHED": ("FAILED_PRECONDITION", ["PreconditionFailure"], None),
    "RATE_LIMITED": ("RESOURCE_EXHAUSTED", ["RetryInfo", "QuotaFailure"], "1235"),
    "LOGIN_THROTTLED": ("RESOURCE_EXHAUSTED", ["RetryInfo", "QuotaFailure"], "-1"),
    "PROVIDER_UNAVAILABLE": ("UNAVAILABLE", [], "1000"),
    "PROVIDER_RATE_LIMITED": ("RESOURCE_EXHAUSTED", ["QuotaFailure"], "1000"),
    "PROVIDER_REFUSED": ("FAILED_PRECONDITION", ["PreconditionFailure"], None),
    "PROVIDER_TIMEOUT": ("DEADLINE_EXCEEDED", [], None),
    "PROVIDER_STREAM_BROKEN": ("UNAVAILABLE", [], "1000"),
    "RUN_TIMEOUT": ("DEADLINE_EXCEEDED", [], None),
    "RUN_INTERRUPTED": ("UNAVAILABLE", [], "1000"),
    "STORAGE_UNAVAILABLE": ("UNAVAILABLE", ["RetryInfo"], "1000"),
    "REVOCATIONS_STALE": ("UNAVAILABLE", ["RetryInfo"], "5000"),
    "SERVER_STOPPING": ("UNAVAILABLE", ["RetryInfo"], "100"),
    "INTERNAL": ("INTERNAL", [], None),
    "METHOD_UNKNOWN": ("UNIMPLEMENTED", [], None),
    "PASSWORD_WRONG": ("PERMISSION_DENIED", [], None),
    "PASSWORD_ABSENT": ("FAILED_PRECONDITION", ["PreconditionFailure"], None),
    "API_KEY_NOT_FOUND": ("NOT_FOUND", ["ResourceInfo"], None),
    "API_KEYS_EXHAUSTED": ("FAILED_PRECONDITION", ["PreconditionFailure"], None),
    "SCOPE_REFUSED": ("PERMISSION_DENIED", [], None),
    "USER_NOT_FOUND": ("NOT_FOUND", ["ResourceInfo"], None),
    "LAST_ADMINISTRATOR": ("FAILED_PRECONDITION", ["PreconditionFailure"], None),
    "SUBJECT_UNEXPECTED": ("FAILED_PRECONDITION", ["PreconditionFailure"], None),
    "MESSAGE_BUSY": ("FAILED_PRECONDITION", ["PreconditionFailure"], None),
    "MESSAGE_NOT_RATABLE": ("FAILED_PRECONDITION", ["PreconditionFailure"], None),
    "FORK_TOO_LARGE": ("FAILED_PRECONDITION", ["PreconditionFailure"], None),
    "SEARCH_QUERY_EMPTY": ("INVALID_ARGUMENT", ["BadRequest"], None),
    "TOO_MANY_RUNS": ("RESOURCE_EXHAUSTED", ["RetryInfo", "QuotaFailure"], "1000"),
    "TOO_MANY_PENDING_RUNS": ("RESOURCE_EXHAUSTED", ["RetryInfo", "QuotaFailure"], "-1"),
    "MESSAGE_NOT_LAST": ("FAILED_PRECONDITION", ["PreconditionFailure"], None),
    "BUDGET_EXCEEDED": ("FAILED_PRECONDITION", ["PreconditionFailure"], None),
    "BUDGET_UNPRICED": ("FAILED_PRECONDITION", ["PreconditionFailure"], None),
    "CURSOR_EXPIRED": ("OUT_OF_RANGE", ["ResourceInfo"], None),
    "IMAGES_NOT_TAKEN": ("FAILED_PRECONDITION", ["PreconditionFailure"], None),
    "CONTEXT_EXCEEDED": ("FAILED_PRECONDITION", ["PreconditionFailure"], None),
    "RESPONSE_SCHEMA_VIOLATED": ("FAILED_PRECONDITION", ["PreconditionFailure"], None),
    "TOO_MANY_STREAMS": ("RESOURCE_EXHAUSTED", ["RetryInfo", "QuotaFailure"], "1000"),
    "MESSAGE_QUOTA_EXCEEDED": ("RESOURCE_EXHAUSTED", ["RetryInfo", "QuotaFailure"], "-1"),
}


def opened(refusal: Refusal) -> tuple[status_pb2.Status, list[Any], dict[str, str | bytes]]:
    """The status in a refusal, its details unpacked, and its metadata."""
    metadata = dict(refusal.trailing_metadata)
    binary = metadata[DETAILS]
    assert isinstance(binary, bytes)
    status = status_pb2.Status.FromString(binary)
    return status, [unpacked(detail) for detail in status.details], metadata


def unpacked(detail: PackedAny) -> Any:
    message = getattr(error_details_pb2, detail.type_url.rpartition(".")[2])()
    assert detail.Unpack(message)
    return message


def test_the_table_has_every_reason() -> None:
    assert list(TABLE) == list(CATALOGUE) == [error.reason for error in EXAMPLES]


@pytest.mark.parametrize("error", EXAMPLES, ids=[error.reason for error in EXAMPLES])
def test_an_error_has_its_status(error: ChatterError) -> None:
    code, details, pushback = TABLE[error.reason]
    refusal = refusal_of(error, "call_1")
    status, messages, metadata = opened(refusal)
    assert (refusal.code, refusal.details) == (grpc.StatusCode[code], error.message)
    assert (status.code, status.message) == (grpc.StatusCode[code].value[0], error.message)
    assert [type(message).__name__ for message in messages] == ["ErrorInfo", "RequestInfo", *details]
    assert (messages[0].reason, messages[0].domain) == (error.reason, "chatter")
    assert dict(messages[0].metadata) == error.metadata
    assert messages[1].request_id == "call_1"
    assert metadata.get(PUSHBACK) == pushback


def detail_of(error: ChatterError, kind: type[Any]) -> Any:
    (found,) = (detail for detail in opened(refusal_of(error, "call_1"))[1] if isinstance(detail, kind))
    return found


def test_field_violations_are_listed_with_their_paths() -> None:
    error = FieldInvalid(
        [
            FieldViolation(field="parts[0].text.text", description="must be set"),
            FieldViolation(field="request_id", description="must match [!-~]+"),
        ]
    )
    violations = detail_of(error, error_details_pb2.BadRequest).field_violations
    assert [(each.field, each.description) for each in violations] == [
        ("parts[0].text.text", "must be set"),
        ("request_id", "must match [!-~]+"),
    ]


def test_more_violations_than_metadata_carries_are_counted() -> None:
    detail = bad_request(FieldViolation(field=f"tags[{index}]", description="x" * 30) for index in range(1000))
    shown = len(detail.field_violations) - 1
    assert 50 < shown < 200
    assert detail.field_violations[-1].description == f"and {1000 - shown} more"
    assert detail.ByteSize() < VIOLATIONS_BYTES + 100


def test_the_details_name_the_argument_the_resource_the_precondition_and_the_quota() -> None:
    bad = detail_of(errors.CursorInvalid(), error_details_pb2.BadRequest)
    assert bad.field_violations[0].field == "cursor"
    resource = detail_of(errors.RunNotFound(run_id="run_1"), error_details_pb2.ResourceInfo)
    assert (resource.resource_type, resource.resource_name) == ("chatter.v1.Run", "run_1")
    busy = errors.ConversationBusy(conversation_id="conv_1", run_id="run_1")
    precondition = detail_of(busy, error_details_pb2.PreconditionFailure).violations[0]
    assert (precondition.type, precondition.subject) == ("CONVERSATION_BUSY", "conv_1")
    quota = detail_of(errors.RateLimited(limit_class="read", retry_after=1), error_details_pb2.QuotaFailure)
    assert quota.violations[0].subject == "read"
    throttled = detail_of(errors.LoginThrottled(retry_after=1), error_details_pb2.QuotaFailure)
    assert throttled.violations[0].subject == "login_throttled"


def test_the_wait_is_rounded_up_so_that_a_repeat_is_not_early() -> None:
    error = errors.RateLimited(limit_class="read", retry_after=2.0001)
    assert detail_of(error, error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() == 2001


def test_an_internal_fault_tells_its_call_id_and_nothing_else() -> None:
    refusal = refusal_of(errors.Internal(), "call_1")
    status, messages, _ = opened(refusal)
    assert status.message == errors.Internal().message
    assert [dict(messages[0].metadata), messages[1].request_id, messages[2:]] == [{}, "call_1", []]
