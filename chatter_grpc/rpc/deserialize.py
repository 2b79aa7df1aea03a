"""Keeps requests that cannot be read on the way to the interceptors, which give them their reason.

grpc answers a deserializer that raises with UNKNOWN, before any interceptor runs. So those of all methods are wrapped,
once, when a service is registered, and what cannot be read becomes a value of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
from google.protobuf.message import DecodeError

Deserializer = Callable[[bytes], Any]


@dataclass(frozen=True, slots=True)
class Malformed:
    """Stands for bytes that are no message of the method's type, or that hold text which is not UTF-8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Oversized:
    """Stands for bytes that are more than the server takes."""

    size_bytes: int
    max_bytes: int


class HandlerSink(Protocol):
    """What takes a service's handlers: a server, or what stands in for it."""

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Add handlers that are asked for each method."""
        ...

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Any]) -> None:
        """Add a service's handlers by their methods' names."""
        ...


class GuardedServer:
    """Stands in for a server where generated code registers a service, and guards the service's deserializers.

    ``services`` are the full names of the services that were registered through it.
    """

    def __init__(self, server: HandlerSink, max_request_bytes: int) -> None:
        self._server = server
        self._max_request_bytes = max_request_bytes
        self.services: list[str] = []

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Leave them out: generated code registers the same methods by name too, which take precedence."""

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Any]) -> None:
        """Hand on the handlers of a service with their deserializers guarded."""
        guarded = {
            name: handler._replace(
                request_deserializer=guard(handler.request_deserializer, self._max_request_bytes),
            )
            for name, handler in method_handlers.items()
        }
        self._server.add_registered_method_handlers(service_name, guarded)
        self.services.append(service_name)


def guard(deserialize: Deserializer, max_bytes: int) -> Deserializer:
    """Wrap a deserializer so that it never raises on what a client sent."""

    def deserialize_guarded(data: bytes) -> Any:
        if len(data) > max_bytes:
            return Oversized(size_bytes=len(data), max_bytes=max_bytes)
        try:
            return deserialize(data)
        except (DecodeError, UnicodeDecodeError):
            return Malformed()

    return deserialize_guarded
