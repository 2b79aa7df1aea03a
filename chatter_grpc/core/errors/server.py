"""Errors of the server and what it depends on."""

from chatter_grpc.core.errors.error import ChatterError


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


class Internal(ChatterError):
    """A fault of the server; its operator finds the cause by the id of the call or the run."""
