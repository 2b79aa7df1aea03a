"""A channel that may be closed while other threads make calls on it."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import grpc

from chatter_client.errors import ClientClosed


class GuardedChannel(grpc.Channel):
    """Another channel, whose methods are not looked up any more once it is closed.

    An interceptor has gRPC look a method up for each call, and gRPC crashes the process where it does that on a channel
    that is closed.
    """

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self.closed = False

    def unary_unary(self, method: str, *arguments: Any, **named: Any) -> Any:
        """See ``grpc.Channel``; raises ``ClientClosed``, as all of these do."""
        return self._look_up(self._channel.unary_unary, method, *arguments, **named)

    def unary_stream(self, method: str, *arguments: Any, **named: Any) -> Any:
        """See ``grpc.Channel``."""
        return self._look_up(self._channel.unary_stream, method, *arguments, **named)

    def stream_unary(self, method: str, *arguments: Any, **named: Any) -> Any:
        """See ``grpc.Channel``."""
        return self._look_up(self._channel.stream_unary, method, *arguments, **named)

    def stream_stream(self, method: str, *arguments: Any, **named: Any) -> Any:
        """See ``grpc.Channel``."""
        return self._look_up(self._channel.stream_stream, method, *arguments, **named)

    def subscribe(self, callback: Callable[..., Any], try_to_connect: bool = False) -> None:
        """See ``grpc.Channel``."""
        self._channel.subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Callable[..., Any]) -> None:
        """See ``grpc.Channel``."""
        self._channel.unsubscribe(callback)

    def close(self) -> None:
        """See ``grpc.Channel``."""
        with self._lock:
            self.closed = True
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _look_up(self, kind: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        with self._lock:
            if self.closed:
                raise ClientClosed
            return kind(*arguments, **named)
