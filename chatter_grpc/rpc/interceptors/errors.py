"""Turns what a call raised into its status; faults of the server show their call id and nothing else."""

from collections.abc import Collection
from typing import Any

import grpc
import structlog

from chatter_grpc.core.errors import ChatterError, Internal
from chatter_grpc.rpc.call import current_call
from chatter_grpc.rpc.errors import refusal_of
from chatter_grpc.rpc.interceptors.layer import Context, Layer, Next, proceed


class ErrorsInterceptor(Layer):
    """Ends calls that raised with the status that ``rpc.errors`` gives. Nothing else ends a call with an error."""

    def __init__(self, methods: Collection[str]) -> None:
        super().__init__(methods)
        self._log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Go on, and map what is raised."""
        try:
            return await proceed(method, request_or_iterator, context)
        except ChatterError as error:
            raised = error
        except Exception as fault:
            if is_over(fault):
                raise
            self._log.error("fault", call_id=current_call().id, method=method_name, exc_info=fault)
            raised = Internal()
        call = current_call()
        call.reason = raised.reason
        refusal = refusal_of(raised, call.id)
        trailing: Any = (*refusal.trailing_metadata, *call.trailing)
        return await context.abort(refusal.code, refusal.details, trailing)


def is_over(error: Exception) -> bool:
    """Whether an error is grpc's way to say that a call has ended already.

    It was aborted, or the client went away or the server stopped while something was being sent.
    """
    return isinstance(error, grpc.aio.BaseError) and not isinstance(error, grpc.aio.UsageError)
