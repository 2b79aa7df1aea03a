"""What is known of a call: its id, its peer, its caller, its request key."""

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from chatter_grpc._gen.chatter.v1 import chat_service_pb2
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.login_throttle import network_of
from chatter_grpc.core.requests import RequestKey
from chatter_grpc.rpc.call import CURRENT, Call, current_call, current_caller
from chatter_grpc.rpc.contract import SERVICES, methods_of
from chatter_grpc.rpc.interceptors.idempotency import IdempotencyInterceptor
from chatter_grpc.rpc.interceptors.rate_limit import counted_for
from chatter_grpc.rpc.peers import address_of

CREATE = "/chatter.v1.ChatService/CreateConversation"
CALLER = Caller(actor_id="user_1", owner_id="subj_1", session_id="sess_1")


@pytest.fixture
def call() -> Iterator[Call]:
    call = Call(id="call_1", method=CREATE, peer="192.0.2.1", started=0.0)
    token = CURRENT.set(call)
    yield call
    CURRENT.reset(token)


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.1:4711", "192.0.2.1"),
        ("ipv6:[2001:db8::1]:4711", "2001:db8::1"),
        ("ipv6:%5B2001:db8::1%5D:4711", "2001:db8::1"),
        ("unix:", ""),
        ("unix:/run/chatter.sock", ""),
        ("", ""),
    ],
)
def test_a_peers_address_is_known_without_its_port(peer: str, address: str) -> None:
    assert address_of(peer) == address


def test_outside_of_a_call_there_is_none() -> None:
    with pytest.raises(LookupError):
        current_call()


def test_a_public_method_has_no_caller(call: Call) -> None:
    with pytest.raises(LookupError, match="no caller"):
        current_caller()
    call.caller = CALLER
    assert current_caller() is CALLER


def test_calls_count_for_their_owner_or_for_their_network(call: Call) -> None:
    assert counted_for(call) == "peer:192.0.2.1"
    call.peer = "2001:db8:0:1::7"
    assert counted_for(call) == f"peer:{network_of('2001:db8:0:1::8')}"
    call.caller = CALLER
    assert counted_for(call) == "owner:subj_1"


async def keyed(call: Call, request: Any) -> RequestKey | None:
    """The key that is built for a request."""
    layer = IdempotencyInterceptor({name: method.input_type for name, method in methods_of(SERVICES)})

    async def done(_: Any, __: Any) -> None:
        return None

    context: Any = None
    await layer.intercept(done, request, context, call.method)
    return call.request_key


async def test_a_request_id_makes_a_key_of_owner_method_id_and_payload(call: Call) -> None:
    call.caller = CALLER
    request = chat_service_pb2.CreateConversationRequest(request_id="1", metadata={"b": "2", "a": "1"})
    assert await keyed(call, request) == RequestKey(
        owner_id="subj_1",
        method=CREATE,
        request_id="1",
        payload_hash=hashlib.sha256(request.SerializeToString(deterministic=True)).digest(),
    )


async def test_equal_payloads_hash_alike_in_whatever_order_maps_were_filled(call: Call) -> None:
    call.caller = CALLER
    entries = {str(number): "v" for number in range(32)}
    one = chat_service_pb2.CreateConversationRequest(request_id="1", metadata=entries)
    other = chat_service_pb2.CreateConversationRequest(request_id="1", metadata=dict(reversed(entries.items())))
    first, second = await keyed(call, one), await keyed(call, other)
    assert first == second
    changed = await keyed(call, chat_service_pb2.CreateConversationRequest(request_id="1", title="x"))
    assert changed is not None
    assert first is not None
    assert changed.payload_hash != first.payload_hash


async def test_without_a_request_id_there_is_no_key(call: Call) -> None:
    call.caller = CALLER
    assert await keyed(call, chat_service_pb2.CreateConversationRequest(title="x")) is None
