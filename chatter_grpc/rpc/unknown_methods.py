"""Gives calls of methods that the server does not have a reason, as every other refusal has one."""

from typing import Any

import grpc

from chatter_grpc.core.errors import MethodUnknown
from chatter_grpc.core.ids import new_id
from chatter_grpc.core.observation import Observer
from chatter_grpc.rpc.errors import refusal_of
from chatter_grpc.rpc.interceptors.call_id import CALL_ID, sent_id
from chatter_grpc.rpc.interceptors.layer import Context


class UnknownMethods(grpc.GenericRpcHandler):
    """Answers whatever no other handler takes; to be added last.

    Such a call passes no interceptor, for they are made for the contract's methods.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any]":
        """Return a handler that refuses, without reading what the client sends."""
        method = handler_call_details.method

        async def refuse(_: Any, context: Context) -> None:
            self._observer.unknown_method()
            call_id = sent_id(context.invocation_metadata() or ()) or new_id("call")
            refusal = refusal_of(MethodUnknown(method=method), call_id)
            trailing: Any = (*refusal.trailing_metadata, (CALL_ID, call_id))
            await context.abort(refusal.code, refusal.details, trailing)

        handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(refuse)
        return handler
