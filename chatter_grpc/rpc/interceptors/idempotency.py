"""Builds the key by which a repeated request is known; the core records it in the transaction of what was made."""

import hashlib
from collections.abc import Collection, Mapping
from typing import Any, Final

from google.protobuf.descriptor import Descriptor

from chatter_grpc.core.requests import RequestKey
from chatter_grpc.rpc.call import current_call, current_caller
from chatter_grpc.rpc.interceptors.layer import Context, Layer, Next, proceed

FIELD: Final = "request_id"


class IdempotencyInterceptor(Layer):
    """Puts the request key into the call's record where the request carries a request id."""

    def __init__(self, requests: Mapping[str, Descriptor]) -> None:
        super().__init__(requests)
        self._keyed: Collection[str] = frozenset(
            name for name, descriptor in requests.items() if FIELD in descriptor.fields_by_name
        )

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Build the key, then go on."""
        request = request_or_iterator
        if method_name in self._keyed and request.request_id:
            current_call().request_key = RequestKey(
                owner_id=current_caller().owner_id,
                method=method_name,
                request_id=request.request_id,
                payload_hash=hashlib.sha256(request.SerializeToString(deterministic=True)).digest(),
            )
        return await proceed(method, request, context)
