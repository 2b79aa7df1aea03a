"""Failures of the providers of models."""

from chatter_grpc.core.errors.error import ChatterError


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
