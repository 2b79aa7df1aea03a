"""Requests that cannot be read reach the interceptors as what they are."""

from collections.abc import Mapping, Sequence
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatter_grpc._gen.chatter.v1 import chat_service_pb2, user_service_pb2_grpc
from chatter_grpc.rpc.deserialize import GuardedServer, Malformed, Oversized, guard

GET = guard(chat_service_pb2.GetMessageRequest.FromString, 100)
# Nested deeper than parsers follow.
DEEP = b"\x0a\x7f" * 200


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\x05ab", b"\x0a\x02\xff\xfe", b"\x0a\x03\xed\xa0\x80"])
def test_bytes_that_are_no_such_message_become_malformed(data: bytes) -> None:
    assert GET(data) == Malformed()


def test_more_bytes_than_allowed_are_not_parsed() -> None:
    assert GET(b"\xff" * 101) == Oversized(size_bytes=101, max_bytes=100)


def test_a_message_is_itself() -> None:
    message = chat_service_pb2.GetMessageRequest(message_id="msg_1")
    assert GET(message.SerializeToString()) == message


@given(st.binary(max_size=120) | st.just(DEEP))
def test_no_bytes_make_the_deserializer_raise(data: bytes) -> None:
    assert isinstance(GET(data), Malformed | Oversized | chat_service_pb2.GetMessageRequest)


class Sink:
    """Takes handlers as a server does."""

    def __init__(self) -> None:
        self.handlers: dict[str, Mapping[str, Any]] = {}

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        raise AssertionError("generic handlers would be asked beside the guarded ones")

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Any]) -> None:
        self.handlers[service_name] = method_handlers


def test_every_method_of_a_registered_service_is_guarded() -> None:
    sink = Sink()
    server = GuardedServer(sink, 10)
    servicer: Any = user_service_pb2_grpc.UserServiceServicer
    stand_in: Any = server
    user_service_pb2_grpc.add_UserServiceServicer_to_server(servicer, stand_in)
    assert server.services == ["chatter.v1.UserService"]
    handlers = sink.handlers["chatter.v1.UserService"]
    assert handlers
    for handler in handlers.values():
        assert handler.request_deserializer(b"\xff") == Malformed()
        assert handler.request_deserializer(b"x" * 11) == Oversized(size_bytes=11, max_bytes=10)
