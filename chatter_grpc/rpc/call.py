"""The call that is being served: what the interceptors learn about it, for those that come after them."""

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

from chatter_grpc.core.callers import Caller
from chatter_grpc.core.requests import RequestKey


@dataclass(slots=True, kw_only=True)
class Call:
    """One call. Each field is set once: the first four when it arrives, the rest by the interceptor it names.

    ``method`` is the full name, such as ``/chatter.v1.ChatService/GetMessage``. ``peer`` is the client's address
    without its port, by a trusted proxy's word where there is one; empty on a unix socket. ``started`` is in seconds by
    ``time.perf_counter``. ``caller`` comes with authentication and stays ``None`` on public methods; ``request_key``
    with the idempotency key, ``None`` where the request has no request id. ``reason`` is that of the error that
    the call ends with, empty where there is none. ``trailing`` gathers what the answer carries as trailing metadata.
    """

    id: str
    method: str
    peer: str
    started: float
    caller: Caller | None = None
    request_key: RequestKey | None = None
    reason: str = ""
    trailing: list[tuple[str, str]] = field(default_factory=list)


# Every RPC is served in a task of its own, so that what is set here stays within the call.
CURRENT: Final[ContextVar[Call]] = ContextVar("chatter_call")


def current_call() -> Call:
    """Return the call that this task serves; raises ``LookupError`` outside of one."""
    return CURRENT.get()


def current_caller() -> Caller:
    """Return who makes the call; raises ``LookupError`` on public methods, which must not ask."""
    caller = CURRENT.get().caller
    if caller is None:
        raise LookupError("a public method has no caller")
    return caller
