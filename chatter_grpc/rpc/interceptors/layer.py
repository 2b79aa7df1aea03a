"""What all interceptors share: they wrap the contract's methods once, and pass calls on without touching messages."""

from abc import ABC
from collections.abc import Awaitable, Callable, Collection
from typing import Any, TypeAlias

import grpc
from grpc_interceptor import AsyncServerInterceptor

# The rest of the chain, as grpc-interceptor hands it on.
Next = Callable[[Any, Any], Any]
Context = grpc.aio.ServicerContext[Any, Any]
# At run time grpc's class takes no arguments, so they are for the type checker alone.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class Layer(AsyncServerInterceptor, ABC):
    """An interceptor for ``methods`` (full names); health and reflection are not among them and pass by.

    What wraps a method does not depend on the call, so it is made at the method's first call and kept.
    """

    def __init__(self, methods: Collection[str]) -> None:
        self._methods = frozenset(methods)
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self, continuation: "Callable[[Any], Awaitable[Handler | None]]", handler_call_details: Any
    ) -> Any:
        """Return the handler of a method with this layer around it; ``None`` where there is no such method."""
        method: str = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is not None:
            return wrapped
        handler = await continuation(handler_call_details)
        if method not in self._methods:
            return handler

        async def rest(_: Any) -> "Handler | None":
            return handler

        # What is kept must not hold the metadata, and so the credentials, of the call that happened to be first.
        details = _MethodDetails(method)
        outer: Handler = await super().intercept_service(rest, details)  # type: ignore[no-untyped-call]
        self._wrapped[method] = outer
        return outer


class _MethodDetails:
    """As much of a call's details as holds for every call of a method."""

    __slots__ = ("method",)

    def __init__(self, method: str) -> None:
        self.method = method


async def proceed(method: Next, request: Any, context: Context) -> Any:
    """Run the rest of the chain to its end; return the response of a unary call, ``None`` after a stream.

    A streaming handler writes to the context and yields nothing, so that no layer is touched by its messages.
    """
    outcome = method(request, context)
    if not hasattr(outcome, "__aiter__"):
        return await outcome
    async for _ in outcome:
        raise TypeError("a streaming handler writes its messages to the context instead of yielding them")
    return None
