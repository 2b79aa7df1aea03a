"""Against a real gRPC server the load client counts exactly what was sent, and says what was not right."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import pytest
import pytest_asyncio

from benchmarks.answers import AnswerPlan, parse_model, write_rest, write_token
from benchmarks.bare import get_server_info, send_message
from benchmarks.load import http2
from benchmarks.load.calls import Call, CallSpec, split_messages
from benchmarks.load.client import LoadFailed, run_streams, run_unary
from benchmarks.load.connection import Connection
from benchmarks.load.folding import Wire
from benchmarks.load.jobs import StreamJob, Target, UnaryJob
from benchmarks.sides import GET_SERVER_INFO, SEND_MESSAGE, write_request
from chatter_grpc._gen.chatter.v1.chat_service_pb2 import SendMessageRequest
from chatter_grpc._gen.chatter.v1.content_pb2 import TextPart
from chatter_grpc._gen.chatter.v1.system_service_pb2 import GetServerInfoRequest, GetServerInfoResponse

Context = grpc.aio.ServicerContext[SendMessageRequest, bytes]
Handler = Callable[[SendMessageRequest, Context], AsyncIterator[bytes]]
Serve = Callable[[Handler], Awaitable[int]]


@pytest_asyncio.fixture
async def serve() -> AsyncIterator[Serve]:
    servers: list[grpc.aio.Server] = []

    async def start(handler: Handler) -> int:
        stream: grpc.RpcMethodHandler[SendMessageRequest, bytes] = grpc.unary_stream_rpc_method_handler(
            handler, request_deserializer=SendMessageRequest.FromString, response_serializer=None
        )
        info = grpc.unary_unary_rpc_method_handler(
            get_server_info,
            request_deserializer=GetServerInfoRequest.FromString,
            response_serializer=GetServerInfoResponse.SerializeToString,
        )
        server = grpc.aio.server()
        server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler("chatter.v1.ChatService", {"SendMessage": stream}),
                grpc.method_handlers_generic_handler("chatter.v1.SystemService", {"GetServerInfo": info}),
            )
        )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append(server)
        return port

    yield start
    for server in servers:
        await server.stop(grace=None)


def target(port: int, *, connections: int = 1, deadline: float = 10.0) -> Target:
    return Target(port=port, watch=(("server", os.getpid()),), connections=connections, deadline=deadline)


def streams(port: int, plan: AnswerPlan, count: int, *, connections: int = 1, deadline: float = 10.0) -> StreamJob:
    request = write_request(plan, conversation_id="none").SerializeToString()
    return StreamJob(
        target=target(port, connections=connections, deadline=deadline),
        calls=(CallSpec(path=SEND_MESSAGE, request=request),) * count,
        wire=Wire.TEXT,
        plan=plan,
    )


@pytest.mark.parametrize("plan", [AnswerPlan(tokens=200), AnswerPlan(tokens=20, rate=100)])
async def test_every_stream_and_token_and_message_is_counted(serve: Serve, plan: AnswerPlan) -> None:
    port = await serve(send_message)
    report = await asyncio.to_thread(run_streams, streams(port, plan, 10, connections=3))
    assert (report.streams, report.tokens, report.messages) == (10, 10 * plan.tokens, 10 * plan.tokens)
    first, other = (len(TextPart(text=write_token(index, 0)).SerializeToString()) for index in (0, 1))
    assert report.wire_bytes == 10 * (first + (plan.tokens - 1) * other)
    assert (report.late_ms is not None) == bool(plan.rate)
    assert report.effort.cpu["server"] > 0


async def test_many_tokens_may_come_in_one_large_message(serve: Serve) -> None:
    async def send_at_once(request: SendMessageRequest, context: Context) -> AsyncIterator[bytes]:
        plan = parse_model(request.overrides.model.removeprefix("openai/"))
        yield TextPart(text=write_token(0, 1)).SerializeToString()
        yield TextPart(text=write_rest(plan.tokens)).SerializeToString()

    port = await serve(send_at_once)
    report = await asyncio.to_thread(run_streams, streams(port, AnswerPlan(tokens=60_000), 3))
    assert (report.tokens, report.messages) == (180_000, 6)


async def test_a_lost_token_fails_the_load(serve: Serve) -> None:
    async def lose_one(request: SendMessageRequest, context: Context) -> AsyncIterator[bytes]:
        async for message in send_message(request, context):
            if message != TextPart(text=write_token(7, 0)).SerializeToString():
                yield message

    port = await serve(lose_one)
    with pytest.raises(LoadFailed, match=r"2 of 2 streams were not complete.*differs"):
        await asyncio.to_thread(run_streams, streams(port, AnswerPlan(tokens=20), 2))


async def test_a_server_that_aborts_fails_the_load_with_its_status(serve: Serve) -> None:
    async def abort(request: SendMessageRequest, context: Context) -> AsyncIterator[bytes]:
        yield TextPart(text=write_token(0, 1)).SerializeToString()
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down")

    port = await serve(abort)
    with pytest.raises(LoadFailed, match="grpc-status 8: slow down"):
        await asyncio.to_thread(run_streams, streams(port, AnswerPlan(tokens=2), 1))


async def test_a_stream_that_never_ends_meets_the_deadline(serve: Serve) -> None:
    async def hang(request: SendMessageRequest, context: Context) -> AsyncIterator[bytes]:
        yield TextPart(text=write_token(0, 1)).SerializeToString()
        await asyncio.sleep(60)

    port = await serve(hang)
    with pytest.raises(TimeoutError):
        await asyncio.to_thread(run_streams, streams(port, AnswerPlan(tokens=2), 1, deadline=0.5))


async def test_a_small_window_is_renewed_until_the_stream_is_whole(serve: Serve) -> None:
    port = await serve(send_message)
    plan = AnswerPlan(tokens=20_000)
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    _, connection = await loop.create_connection(
        lambda: Connection("localhost", window=http2.DEFAULT_WINDOW), "127.0.0.1", port
    )
    call = Call(on_end=ended.set_result)
    connection.start(streams(port, plan, 1).calls[0], call)
    await asyncio.wait_for(ended, 10)
    connection.close()
    assert call.fault() == ""
    assert sum(len(chunk) for _, chunk in call.chunks) > 3 * http2.DEFAULT_WINDOW
    assert len(split_messages(call.chunks)) == plan.tokens


@pytest.mark.parametrize("concurrency", [1, 8])
async def test_unary_calls_are_made_as_often_as_was_asked(serve: Serve, concurrency: int) -> None:
    port = await serve(send_message)
    call = CallSpec(path=GET_SERVER_INFO, request=GetServerInfoRequest().SerializeToString())
    job = UnaryJob(target=target(port), call=call, count=100, concurrency=concurrency)
    report = await asyncio.to_thread(run_unary, job)
    assert report.calls == 100
    assert 0 < report.latency_us[0] <= report.latency_us[1]


async def test_a_unary_call_that_is_refused_fails_the_load(serve: Serve) -> None:
    port = await serve(send_message)
    call = CallSpec(path="/chatter.v1.SystemService/GetNothing", request=b"")
    with pytest.raises(LoadFailed, match="grpc-status 12"):
        await asyncio.to_thread(run_unary, UnaryJob(target=target(port), call=call, count=100, concurrency=4))
