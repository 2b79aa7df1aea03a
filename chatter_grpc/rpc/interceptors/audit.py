"""Says, for methods whose policy is audited, what the audit log is to know of a call; the core writes it."""

from collections.abc import Mapping
from typing import Any

from chatter_grpc.core.audit import Action, acting
from chatter_grpc.rpc.call import current_call
from chatter_grpc.rpc.interceptors.layer import Context, Layer, Next, proceed
from chatter_grpc.rpc.policy import MethodPolicy


class AuditInterceptor(Layer):
    """Makes each audited call the action at hand, whose changes leave their rows in the same transaction."""

    def __init__(self, policies: Mapping[str, MethodPolicy]) -> None:
        super().__init__([name for name, policy in policies.items() if policy.audit])

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Go on within the action."""
        call = current_call()
        caller = call.caller
        action = Action(
            method=method_name,
            call_id=call.id,
            address=call.peer,
            actor_id="" if caller is None else caller.actor_id,
            owner_id="" if caller is None else caller.owner_id,
        )
        with acting(action):
            return await proceed(method, request_or_iterator, context)
