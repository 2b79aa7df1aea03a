"""Counts calls against the limits of their class, per owner; where a method is public, per session or network."""

import math
from collections.abc import Awaitable, Callable, Mapping
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


REFRESH_TOKEN: Final = "refresh_token"
# Longer ones are not looked at before they are counted.
LONGEST_TOKEN: Final = 4096

SessionOf = Callable[[str], Awaitable[str | None]]


class RateLimitInterceptor(Layer):
    """Refuses calls beyond a limit with ``RateLimited``.

    Trailing metadata tells the state of the limit: units in all, units left, and in how many seconds there are more.
    Calls over a unix socket count together on public methods: they have no address. ``session_of`` tells the session of
    a refresh token: those who share an address have sessions of their own.
    """

    def __init__(
        self,
        policies: Mapping[str, MethodPolicy],
        limiter: RateLimiter,
        limits: Mapping[RateClass, Limit],
        session_of: SessionOf,
    ) -> None:
        super().__init__(policies)
        for name, policy in policies.items():
            if policy.cost > limits[policy.rate_class].amount:
                raise ContractFault(f"{name} costs more than the whole limit of its class {policy.rate_class}")
        self._policies = policies
        self._limiter = limiter
        self._limits = limits
        self._session_of = session_of

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Count the call, then go on."""
        policy = self._policies[method_name]
        limit = self._limits[policy.rate_class]
        call = current_call()
        counted = await self._session(request_or_iterator) or counted_for(call)
        decision = await self._limiter.hit(f"call:{policy.rate_class}:{counted}", limit, policy.cost)
        call.trailing += (
            (LIMIT, str(limit.amount)),
            (REMAINING, str(decision.remaining)),
            (RESET, str(math.ceil(decision.reset_after))),
        )
        if not decision.allowed:
            raise RateLimited(limit_class=policy.rate_class.value, retry_after=decision.reset_after)
        return await proceed(method, request_or_iterator, context)

    async def _session(self, request: Any) -> str:
        """Return whose a request is that carries a refresh token which is one; empty otherwise."""
        token = getattr(request, REFRESH_TOKEN, "")
        session_id = await self._session_of(token) if 0 < len(token) <= LONGEST_TOKEN else None
        return f"session:{session_id}" if session_id else ""


def counted_for(call: Call) -> str:
    """Return who shares one count: an owner, or the network of an address."""
    return f"peer:{network_of(call.peer)}" if call.caller is None else f"owner:{call.caller.owner_id}"
