"""Interceptors of a channel: calls carry credentials, and fail with the errors of this package."""

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import grpc

from chatter_client.connection import PUBLIC_METHODS
from chatter_client.credentials import Metadata
from chatter_client.errors import ChatterError, ClientClosed, error_of
from chatter_client.progress import EXPIRED
from chatter_client.sync.channels import GuardedChannel
from chatter_client.sync.keepers import NOBODY, Keeper


class _Details(NamedTuple):
    """What gRPC reads of a call; its own class is not to be made by others."""

    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: Any
    compression: Any


class CallInterceptor(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
):
    """Renews credentials that the server says have expired, and repeats a unary call once.

    A stream whose credentials had expired ends with TOKEN_EXPIRED, and the next one carries others.
    """

    def __init__(self, keeper: Keeper, channel: GuardedChannel) -> None:
        self._keeper = keeper
        self._channel = channel

    def intercept_unary_unary(self, continuation: Callable[..., Any], client_call_details: Any, request: Any) -> Any:
        """Make the call; raises ``ChatterError`` and ``ClientClosed``."""
        carried = self._metadata(client_call_details)
        try:
            return self._called(continuation, client_call_details, carried, request)
        except ChatterError as error:
            if error.reason != EXPIRED or not carried or not self._keeper.renew(carried):
                raise
        return self._called(continuation, client_call_details, self._keeper.metadata(), request)

    def intercept_unary_stream(self, continuation: Callable[..., Any], client_call_details: Any, request: Any) -> Any:
        """Open the stream; its iterator raises ``ChatterError`` and ``ClientClosed``."""
        carried = self._metadata(client_call_details)
        try:
            call = continuation(_with(client_call_details, carried), request)
        except ValueError:
            # Closed between the look-up of the method and the call.
            if self._channel.closed:
                raise ClientClosed from None
            raise
        return Responses(call, self._keeper, carried, self._channel)

    def _metadata(self, details: Any) -> Metadata:
        return NOBODY if details.method in PUBLIC_METHODS else self._keeper.metadata()

    def _called(self, continuation: Callable[..., Any], details: Any, carried: Metadata, request: Any) -> Any:
        outcome = continuation(_with(details, carried), request)
        # A call that was waited for is the error itself; one that was not holds it.
        failed = outcome if isinstance(outcome, grpc.RpcError) else outcome.exception()
        if isinstance(failed, grpc.RpcError | ValueError) and self._channel.closed:
            raise ClientClosed from None
        if isinstance(failed, grpc.RpcError):
            raise error_of(failed) from failed
        return outcome


class Responses:
    """The responses of a stream; everything but iterating is the call's own."""

    def __init__(self, call: Any, keeper: Keeper, carried: Metadata, channel: GuardedChannel) -> None:
        self._call = call
        self._keeper = keeper
        self._carried = carried
        self._channel = channel

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._call)
        except grpc.RpcError as failed:
            if self._channel.closed:
                raise ClientClosed from None
            error = error_of(failed)
            if error.reason == EXPIRED and self._carried:
                self._keeper.renew(self._carried)
            raise error from failed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)


def _with(details: Any, carried: Metadata) -> _Details:
    return _Details(
        method=details.method,
        timeout=details.timeout,
        metadata=(*(details.metadata or ()), *carried),
        credentials=details.credentials,
        wait_for_ready=details.wait_for_ready,
        compression=details.compression,
    )
