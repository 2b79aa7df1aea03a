"""Interceptors of a channel: calls carry credentials, and fail with the errors of this package."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from chatter_client.aio.keepers import NOBODY, Keeper
from chatter_client.connection import PUBLIC_METHODS
from chatter_client.credentials import Metadata
from chatter_client.errors import ChatterError, ClientClosed, error_of
from chatter_client.progress import EXPIRED


class _Carrying:
    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    async def _metadata(self, details: grpc.aio.ClientCallDetails) -> Metadata:
        return NOBODY if _name(details) in PUBLIC_METHODS else await self._keeper.metadata()


class UnaryInterceptor(_Carrying, grpc.aio.UnaryUnaryClientInterceptor):
    """Renews credentials that the server says have expired, and repeats the call once."""

    async def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        """Make the call; raises ``ChatterError`` and ``ClientClosed``."""
        carried = await self._metadata(client_call_details)
        try:
            return await _called(continuation, client_call_details, carried, request)
        except ChatterError as error:
            if error.reason != EXPIRED or not carried or not await self._keeper.renew(carried):
                raise
        return await _called(continuation, client_call_details, await self._keeper.metadata(), request)


class StreamInterceptor(_Carrying, grpc.aio.UnaryStreamClientInterceptor):
    """Renews credentials that the server says have expired; the stream ends with TOKEN_EXPIRED all the same."""

    async def intercept_unary_stream(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        """Open the stream; its iterator raises ``ChatterError``."""
        carried = await self._metadata(client_call_details)
        try:
            call = await continuation(_with(client_call_details, carried), request)
        except grpc.aio.UsageError:
            raise ClientClosed from None
        return self._read(call, carried)

    async def _read(self, call: Any, carried: Metadata) -> AsyncIterator[Any]:
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as failed:
            error = error_of(failed)
            if error.reason == EXPIRED and carried:
                await self._keeper.renew(carried)
            raise error from failed


async def _called(
    continuation: Callable[..., Any], details: grpc.aio.ClientCallDetails, carried: Metadata, request: Any
) -> Any:
    try:
        return await (await continuation(_with(details, carried), request))
    except grpc.aio.AioRpcError as failed:
        raise error_of(failed) from failed
    except grpc.aio.UsageError:
        raise ClientClosed from None


def _with(details: grpc.aio.ClientCallDetails, carried: Metadata) -> grpc.aio.ClientCallDetails:
    metadata = grpc.aio.Metadata(*(details.metadata or ()), *carried)
    return details._replace(metadata=metadata)  # type: ignore[attr-defined,no-any-return] # it is a named tuple


def _name(details: grpc.aio.ClientCallDetails) -> str:
    method: Any = details.method
    return method.decode() if isinstance(method, bytes) else str(method)
