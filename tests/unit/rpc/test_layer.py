"""A layer wraps each method of the contract once, and lets everything else pass."""

import gc
import weakref
from typing import Any

import grpc
import pytest

from chatter_grpc.rpc.interceptors.layer import Layer, proceed

METHOD = "/made.up.Service/Method"


class Passing(Layer):
    """Goes on."""

    async def intercept(self, method: Any, request_or_iterator: Any, context: Any, method_name: str) -> Any:
        return method_name, await proceed(method, request_or_iterator, context)


class Details:
    """What grpc gives with each call."""

    def __init__(self, method: str) -> None:
        self.method = method
        self.invocation_metadata = (("authorization", "Bearer secret"),)


async def echo(request: Any, context: Any) -> Any:
    return request


HANDLER: Any = grpc.unary_unary_rpc_method_handler(echo)


class Continuation:
    """The rest of the chain; counts how often it is asked."""

    def __init__(self, handler: Any = HANDLER) -> None:
        self.asked = 0
        self._handler = handler

    async def __call__(self, details: Any) -> Any:
        self.asked += 1
        return self._handler


async def test_a_method_is_wrapped_at_its_first_call_and_kept() -> None:
    layer, rest = Passing([METHOD]), Continuation()
    first = await layer.intercept_service(rest, Details(METHOD))
    assert await layer.intercept_service(rest, Details(METHOD)) is first
    assert rest.asked == 1
    assert await first.unary_unary("request", None) == (METHOD, "request")


async def test_what_is_kept_holds_nothing_of_the_first_call() -> None:
    layer = Passing([METHOD])
    details = Details(METHOD)
    kept = weakref.ref(details)
    await layer.intercept_service(Continuation(), details)
    del details
    gc.collect()
    assert kept() is None


async def test_other_methods_pass_by_and_are_not_kept() -> None:
    layer, rest = Passing([METHOD]), Continuation()
    for _ in range(2):
        assert await layer.intercept_service(rest, Details("/grpc.health.v1.Health/Check")) is HANDLER
    assert rest.asked == 2


@pytest.mark.parametrize("method", [METHOD, "/made.up.Service/Other"])
async def test_a_method_that_is_not_served_stays_so(method: str) -> None:
    assert await Passing([METHOD]).intercept_service(Continuation(None), Details(method)) is None
