"""Errors of limits and quotas."""

from chatter_grpc.core.errors.error import ChatterError


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
