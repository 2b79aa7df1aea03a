"""Gives each call an id, which leads from an answer to its lines in the log."""

import re
import time
from collections.abc import Collection
from typing import Any, Final

from chatter_grpc.core.ids import new_id
from chatter_grpc.rpc.call import CURRENT, Call
from chatter_grpc.rpc.interceptors.layer import Context, Layer, Next, proceed
from chatter_grpc.rpc.peers import TrustedProxies

CALL_ID: Final = "x-call-id"
# Where a client or a proxy names the call, the first one first.
TAKEN_FROM: Final = (CALL_ID, "x-request-id")
WELL_FORMED: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")


class CallIdInterceptor(Layer):
    """Opens the call's record, and sends what was gathered in it when the call went well.

    The id is the client's where it sent a well-formed one (1 to 64 letters, digits and ``._:-``), a new one otherwise;
    it comes back in trailing metadata as ``x-call-id``.
    """

    def __init__(self, methods: Collection[str], proxies: TrustedProxies) -> None:
        super().__init__(methods)
        self._proxies = proxies

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Open the record, go on, and send the trailing metadata."""
        metadata = context.invocation_metadata() or ()
        call = Call(
            id=sent_id(metadata) or new_id("call"),
            method=method_name,
            peer=self._proxies.client_of(context.peer(), metadata),
            started=time.perf_counter(),
        )
        call.trailing.append((CALL_ID, call.id))
        CURRENT.set(call)
        response = await proceed(method, request_or_iterator, context)
        context.set_trailing_metadata(tuple(call.trailing))
        return response


def sent_id(metadata: Any) -> str | None:
    """Return the id that the client gave the call, if it is well-formed."""
    sent = {key: value for key, value in metadata if key in TAKEN_FROM}
    for name in TAKEN_FROM:
        value = sent.get(name)
        if isinstance(value, str) and WELL_FORMED.fullmatch(value):
            return value
    return None
