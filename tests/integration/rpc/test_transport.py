"""Connections are kept as the settings say."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from chatter_grpc.rpc.server import EdgeSettings, TransportSettings, milliseconds, options
from chatter_grpc.rpc.services.system import ServerFacts
from tests.support.edge import UNLIMITED

METHOD = "/test.Service/Wait"
SECONDS = 20.0


class Waiting(grpc.GenericRpcHandler):
    """A service whose one method waits until it may answer."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.may_answer = asyncio.Event()

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        async def wait(request: bytes, context: object) -> bytes:
            self.arrived.set()
            await self.may_answer.wait()
            return request

        return grpc.unary_unary_rpc_method_handler(wait)


def edge_settings(transport: TransportSettings) -> EdgeSettings:
    facts = ServerFacts(version="0.0.0-test", registration_open=True, max_request_bytes=1024)
    return EdgeSettings(listen="127.0.0.1:0", facts=facts, limits=UNLIMITED, transport=transport)


def method(channel: grpc.aio.Channel) -> "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]":
    return channel.unary_unary(METHOD)


@asynccontextmanager
async def connected(transport: TransportSettings) -> AsyncIterator[tuple[grpc.aio.Channel, Waiting]]:
    settings = edge_settings(transport)
    server, service = grpc.aio.server(options=options(settings)), Waiting()
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel, service
    finally:
        await server.stop(None)


async def test_more_calls_than_a_connection_may_have_wait_in_the_client() -> None:
    async with connected(TransportSettings(max_streams=1)) as (channel, service):
        first = method(channel)(b"first", timeout=SECONDS)
        await service.arrived.wait()
        second = method(channel)(b"second", timeout=0.3)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await second
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        service.may_answer.set()
        assert await first == b"first"
        assert await method(channel)(b"third", timeout=SECONDS) == b"third"


async def test_an_old_connection_is_left_and_its_open_calls_go_on() -> None:
    async with connected(TransportSettings(max_age=0.1)) as (channel, service):
        call = method(channel)(b"old", timeout=SECONDS)
        async with asyncio.timeout(SECONDS):
            await service.arrived.wait()
            await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
        assert not call.done()
        service.may_answer.set()
        assert await call == b"old"


def test_every_setting_reaches_the_transport() -> None:
    transport = TransportSettings(keepalive=1.5, keepalive_timeout=2, shortest_ping=0.25, max_streams=7, max_age=9)
    given = dict(options(edge_settings(transport)))
    assert given["grpc.keepalive_time_ms"] == 1500
    assert given["grpc.keepalive_timeout_ms"] == 2000
    assert given["grpc.http2.min_recv_ping_interval_without_data_ms"] == 250
    assert given["grpc.max_concurrent_streams"] == 7
    assert given["grpc.max_connection_age_ms"] == 9000
    assert milliseconds(0.0001) == 1


def test_connections_have_no_end_of_their_own_unless_one_is_set() -> None:
    assert "grpc.max_connection_age_ms" not in dict(options(edge_settings(TransportSettings())))
