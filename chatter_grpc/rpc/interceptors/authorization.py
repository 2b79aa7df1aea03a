"""Lets callers do what their credentials allow: the scope that the method's policy names."""

from collections.abc import Mapping
from typing import Any

from chatter_grpc.rpc.call import current_caller
from chatter_grpc.rpc.interceptors.layer import Context, Layer, Next, proceed
from chatter_grpc.rpc.policy import Access, MethodPolicy


class AuthorizationInterceptor(Layer):
    """Refuses callers that lack a method's scope with ``ScopeMissing``."""

    def __init__(self, policies: Mapping[str, MethodPolicy]) -> None:
        super().__init__(policies)
        self._scopes = {name: policy.scope for name, policy in policies.items() if policy.access is Access.SCOPED}

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Require the scope, then go on."""
        scope = self._scopes.get(method_name)
        if scope is not None:
            current_caller().require(scope)
        return await proceed(method, request_or_iterator, context)
