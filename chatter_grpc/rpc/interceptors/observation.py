"""Has each call observed: the layer of metrics and traces, which sees calls and never their messages."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from chatter_grpc.core.observation import Observer
from chatter_grpc.rpc.call import current_call
from chatter_grpc.rpc.interceptors.layer import Context, Layer, Next, proceed
from chatter_grpc.rpc.interceptors.outcome import code_after

# The caller's trace, as W3C's Trace Context has it. Its `tracestate` is text of anyone's making and stays outside.
TRACEPARENT: Final = "traceparent"


class ObservationInterceptor(Layer):
    """Tells an observer of each call."""

    def __init__(self, methods: Collection[str], observer: Observer) -> None:
        super().__init__(methods)
        self._observer = observer

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Go on, and tell how the call ended."""
        call = current_call()
        trace = trace_of(context.invocation_metadata() or ())
        with self._observer.call(method_name.lstrip("/"), call.id, trace) as observed:
            try:
                response = await proceed(method, request_or_iterator, context)
            except BaseException as error:
                observed.ended(code_after(context, error).name, call.reason)
                raise
            observed.ended(code_after(context).name, call.reason)
            return response


def trace_of(metadata: Any) -> Mapping[str, str]:
    """Return what says which trace the caller's is, if it says so once and in plain text."""
    given = [value for key, value in metadata if key == TRACEPARENT and isinstance(value, str)]
    return {TRACEPARENT: given[0]} if len(given) == 1 else {}
