"""Writes one line to the log for each call: who called what from where, how it ended and how long it took."""

import asyncio
import time
from collections.abc import Collection
from typing import Any, Final

import grpc
import structlog
from google.protobuf.message import Message

from chatter_grpc.rpc.call import Call, current_call
from chatter_grpc.rpc.interceptors.layer import Context, Layer, Next, proceed
from chatter_grpc.rpc.interceptors.outcome import code_after
from chatter_grpc.rpc.redaction import redacted

# Codes that are the server's fault.
FAULTS: Final = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN})


class AccessLogInterceptor(Layer):
    """Logs calls without their content; at debug level with the request, as far as the contract lets it be shown."""

    def __init__(self, methods: Collection[str], *, show_requests: bool) -> None:
        super().__init__(methods)
        self._show_requests = show_requests
        self._log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Go on, and log the call when it is over."""
        call = current_call()
        if self._show_requests and isinstance(request_or_iterator, Message):
            self._log.debug("request", call_id=call.id, method=method_name, request=redacted(request_or_iterator))
        try:
            response = await proceed(method, request_or_iterator, context)
        except (asyncio.CancelledError, Exception) as error:
            self._note(call, code_after(context, error))
            raise
        self._note(call, code_after(context))
        return response

    def _note(self, call: Call, code: grpc.StatusCode) -> None:
        facts: dict[str, Any] = {
            "call_id": call.id,
            "method": call.method,
            "code": code.name,
            "duration_ms": round((time.perf_counter() - call.started) * 1000, 3),
            "peer": call.peer,
        }
        if call.caller is not None:
            facts["actor_id"] = call.caller.actor_id
            facts["owner_id"] = call.caller.owner_id
        if call.reason:
            facts["reason"] = call.reason
        if code in FAULTS:
            self._log.error("call", **facts)
        else:
            self._log.info("call", **facts)
