"""Counts calls against the limits of their class, per owner, or per network where a method is public."""

import math
from collections.abc import Mapping
from typing import Any, Final

from chatter_grpc.core.errors import RateLimited
from chatter_grpc.core.limits import Limit, RateLimiter
from chatter_grpc.core.login_throttle import network_of
from chatter_grpc.rpc.call import Call, current_call
from chatter_grpc.rpc.faults import ContractFault
from chatter_grpc.rpc.interceptors.layer import Context, Layer, Next, proceed
from chatter_grpc.rpc.policy import MethodPolicy, RateClass

LIMIT: Final = "ratelimit-limit"
REMAINING: Final = "ratelimit-remaining"
RESET: Final = "ratelimit-reset"


class RateLimitInterceptor(Layer):
    """Refuses calls beyond a limit with ``RateLimited``.

    Trailing metadata tells the state of the limit: units in all, units left, and in how many seconds there are more.
    Calls over a unix socket count together on public methods: they have no address.
    """

    def __init__(
        self, policies: Mapping[str, MethodPolicy], limiter: RateLimiter, limits: Mapping[RateClass, Limit]
    ) -> None:
        super().__init__(policies)
        for name, policy in policies.items():
            if policy.cost > limits[policy.rate_class].amount:
                raise ContractFault(f"{name} costs more than the whole limit of its class {policy.rate_class}")
        self._policies = policies
        self._limiter = limiter
        self._limits = limits

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Count the call, then go on."""
        policy = self._policies[method_name]
        limit = self._limits[policy.rate_class]
        call = current_call()
        decision = await self._limiter.hit(f"call:{policy.rate_class}:{counted_for(call)}", limit, policy.cost)
        call.trailing += (
            (LIMIT, str(limit.amount)),
            (REMAINING, str(decision.remaining)),
            (RESET, str(math.ceil(decision.reset_after))),
        )
        if not decision.allowed:
            raise RateLimited(limit_class=policy.rate_class.value, retry_after=decision.reset_after)
        return await proceed(method, request_or_iterator, context)


def counted_for(call: Call) -> str:
    """Return who shares one count: an owner, or the network of an address."""
    return f"peer:{network_of(call.peer)}" if call.caller is None else f"owner:{call.caller.owner_id}"
