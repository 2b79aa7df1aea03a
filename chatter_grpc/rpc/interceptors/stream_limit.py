"""Counts the streams that a caller has open, on all servers that share the count."""

from collections.abc import Collection
from typing import Any

from chatter_grpc.core.errors import TooManyStreams
from chatter_grpc.core.limits import Slots
from chatter_grpc.rpc.call import current_call
from chatter_grpc.rpc.interceptors.layer import Context, Layer, Next, proceed
from chatter_grpc.rpc.interceptors.rate_limit import counted_for


class StreamLimitInterceptor(Layer):
    """Refuses a stream beyond ``amount`` of one caller with ``TooManyStreams``; ``methods`` are those that stream."""

    def __init__(self, methods: Collection[str], slots: Slots, amount: int) -> None:
        super().__init__(methods)
        self._slots = slots
        self._amount = amount

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Take a slot for as long as the rest of the chain takes, which is as long as the stream is open."""
        key = f"streams:{counted_for(current_call())}"
        slot = await self._slots.take(key, self._amount)
        if slot is None:
            raise TooManyStreams(limit=self._amount)
        try:
            return await proceed(method, request_or_iterator, context)
        finally:
            await self._slots.free(key, slot)
