"""How a call came out, for the layers that look at it from outside."""

import asyncio

import grpc

from chatter_grpc.rpc.interceptors.layer import Context


def code_after(context: Context, error: BaseException | None = None) -> grpc.StatusCode:
    """Return the status of a call that is over; ``error`` is what the rest of the chain raised, if anything."""
    if isinstance(error, asyncio.CancelledError):
        expired = context.time_remaining() == 0
        return grpc.StatusCode.DEADLINE_EXCEEDED if expired else grpc.StatusCode.CANCELLED
    set_on_it: grpc.StatusCode | None = context.code()
    # Errors have become statuses further in; what comes up without one met a client that had gone.
    return set_on_it or (grpc.StatusCode.OK if error is None else grpc.StatusCode.CANCELLED)
