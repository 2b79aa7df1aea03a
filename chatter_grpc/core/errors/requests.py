"""Errors of requests themselves: bytes, fields, tokens, ids."""

from collections.abc import Sequence

from chatter_grpc.core.errors.error import ChatterError, FieldViolation


class RequestMalformed(ChatterError):
    """The request's bytes are no message of this method's type, or hold text that is not UTF-8."""


class RequestTooLarge(ChatterError):
    """The request is larger than this server takes; send less at once."""

    def __init__(self, *, size_bytes: int, max_bytes: int) -> None:
        super().__init__(size_bytes=str(size_bytes), max_bytes=str(max_bytes))


class MethodUnknown(ChatterError):
    """This server has no such method; compare its version with that of the contract you use."""

    def __init__(self, *, method: str) -> None:
        super().__init__(method=method)


class FieldInvalid(ChatterError):
    """One or more fields break their rules; the details name each of them."""

    def __init__(self, violations: Sequence[FieldViolation]) -> None:
        self.violations = tuple(violations)
        super().__init__(fields=str(len(self.violations)))


class PageTokenInvalid(ChatterError):
    """The page token does not belong to this list with these arguments; begin again without one."""


class CursorInvalid(ChatterError):
    """The cursor does not belong to this run and caller; watch from the beginning without one."""


class CursorExpired(ChatterError):
    """The run of this cursor was purged with its conversation; forget it."""

    def __init__(self, *, run_id: str) -> None:
        super().__init__(run_id=run_id)


class SearchQueryEmpty(ChatterError):
    """The query names no word to find; give at least one that is not excluded."""


class RequestIdReused(ChatterError):
    """This request id was used with another payload; use a fresh one for each new request."""

    def __init__(self, *, request_id: str) -> None:
        super().__init__(request_id=request_id)


class EtagMismatch(ChatterError):
    """The resource was changed in between; read it again and repeat the change."""

    def __init__(self, *, etag: str) -> None:
        super().__init__(etag=etag)
