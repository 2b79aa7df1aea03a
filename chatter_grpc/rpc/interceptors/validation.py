"""Refuses requests that cannot be read, are too large, or break the field rules of the contract."""

from collections.abc import Mapping
from typing import Any

from chatter_grpc.core.errors import FieldInvalid, RequestMalformed, RequestTooLarge
from chatter_grpc.rpc.deserialize import Malformed, Oversized
from chatter_grpc.rpc.interceptors.layer import Context, Layer, Next, proceed
from chatter_grpc.rpc.rules import MessageRules


class ValidationInterceptor(Layer):
    """Checks each request against the rules of its method's request type; all violations are answered together."""

    def __init__(self, rules: Mapping[str, MessageRules]) -> None:
        super().__init__(rules)
        self._rules = rules

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Check the request, then go on."""
        request = request_or_iterator
        if isinstance(request, Malformed):
            raise RequestMalformed(method=method_name)
        if isinstance(request, Oversized):
            raise RequestTooLarge(size_bytes=request.size_bytes, max_bytes=request.max_bytes)
        violations = self._rules[method_name].violations(request)
        if violations:
            raise FieldInvalid(violations)
        return await proceed(method, request, context)
