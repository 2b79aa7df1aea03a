"""What calls and streams raise: one tree of errors, read from the details of a gRPC status."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from grpc_status import rpc_status

if TYPE_CHECKING:
    from chatter_client.progress import Place

DOMAIN: Final = "chatter"


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One field of a request that breaks its rules; ``field`` is its path, empty for the request as a whole."""

    field: str
    description: str


class ClientError(Exception):
    """The root of what this package raises; ``place`` says where to go on, if a stream raised it."""

    place: "Place | None" = None


class IntegrityError(ClientError):
    """The events of a run have a gap, or a text that does not have its hash: the answer cannot be trusted."""


class ClientClosed(ClientError):
    """The client was closed: before a call was made with it, or while a stream was being read."""

    def __init__(self) -> None:
        super().__init__("the client is closed")


class GaveUp(ClientError):
    """A stream has had no news for as long as its ``Resumption`` allows; ``cause`` is the last failure."""

    def __init__(self, seconds: float, cause: "ChatterError | None") -> None:
        super().__init__(f"no news from the run for {seconds:g} s" + (f": {cause}" if cause else ""))
        self.cause = cause


class ChatterError(ClientError):
    """A call was refused or failed.

    ``reason`` is the name in the catalogue of errors, without its prefix, also one that this client does not know yet;
    it is empty where the status is not Chatter's, as from a broken connection or a proxy. ``retry_after`` is in
    seconds, ``None`` where the server names no time. ``call_id`` leads an operator to the log.
    """

    def __init__(
        self,
        message: str = "",
        *,
        reason: str = "",
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
        call_id: str = "",
        violations: tuple[Violation, ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.code = code
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after
        self.call_id = call_id
        self.violations = violations

    def __str__(self) -> str:
        parts = [f"{self.reason or self.code.name}: {self.message}"]
        parts += [f"{each.field}: {each.description}" if each.field else each.description for each in self.violations]
        return "; ".join(parts) + (f" (call {self.call_id})" if self.call_id else "")


class Unauthenticated(ChatterError):
    """The credentials are missing, refused, revoked or over, and cannot be renewed."""


class CursorExpired(ChatterError):
    """The run that was being read was purged with its conversation; ``place.fold`` is what was read of it."""


def error_of(failed: Any) -> ChatterError:
    """Return the error of a call that failed: a ``grpc.RpcError`` of either kind of channel."""
    code: grpc.StatusCode = failed.code() or grpc.StatusCode.UNKNOWN
    facts: dict[str, Any] = {"code": code, "message": failed.details() or ""}
    try:
        status = rpc_status.from_call(failed)
    except (ValueError, DecodeError):
        # Details of another status than the call's are nobody's.
        status = None
    for detail in status.details if status is not None else ():
        _read(detail, facts)
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return Unauthenticated(**facts)
    if facts.get("reason") == "CURSOR_EXPIRED":
        return CursorExpired(**facts)
    return ChatterError(**facts)


def _read(detail: Any, facts: dict[str, Any]) -> None:
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.RequestInfo()
    retry, bad = error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
    if detail.Unpack(info) and info.domain == DOMAIN:
        facts.update(reason=info.reason, metadata=dict(info.metadata))
    elif detail.Unpack(request):
        facts["call_id"] = request.request_id
    elif detail.Unpack(retry):
        facts["retry_after"] = retry.retry_delay.ToTimedelta().total_seconds()
    elif detail.Unpack(bad):
        found = ((each.field, each.description) for each in bad.field_violations)
        facts["violations"] = tuple(Violation(field=name, description=text) for name, text in found)
