"""Bare grpc.aio handlers, with nothing around them: the floor under a unary call and under a stream."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic_ns
from typing import Annotated

import grpc
import typer

from benchmarks.answers import AnswerPlan, parse_model, write_token
from benchmarks.processes import wait_for_signal
from chatter_grpc._gen.chatter.v1.chat_service_pb2 import SendMessageRequest
from chatter_grpc._gen.chatter.v1.content_pb2 import TextPart
from chatter_grpc._gen.chatter.v1.system_service_pb2 import GetServerInfoRequest, GetServerInfoResponse, Model

InfoContext = grpc.aio.ServicerContext[GetServerInfoRequest, GetServerInfoResponse]
StreamContext = grpc.aio.ServicerContext[SendMessageRequest, bytes]


async def get_server_info(request: GetServerInfoRequest, context: InfoContext) -> GetServerInfoResponse:
    """Answer a constant of about the size of a real one."""
    return GetServerInfoResponse(
        version="0.0.0",
        models=[Model(name="openai/flat-1", provider="openai")],
        default_model="openai/flat-1",
        registration_open=True,
        max_request_bytes=4_194_304,
        max_page_size=1_000,
    )


async def send_message(request: SendMessageRequest, context: StreamContext) -> AsyncIterator[bytes]:
    """Stream the answer of the model that the request names, without a provider; each token is a message."""
    plan = parse_model(request.overrides.model.removeprefix("openai/"))
    epoch = monotonic_ns()
    yield write_text(0, epoch)
    for index in range(1, plan.tokens):
        if plan.rate:
            await sleep_until(epoch, plan, index)
        yield write_text(index, epoch)


def write_text(index: int, epoch: int) -> bytes:
    """A serialized TextPart."""
    return TextPart(text=write_token(index, epoch)).SerializeToString()


async def sleep_until(epoch: int, plan: AnswerPlan, index: int) -> None:
    """Return when a token is due."""
    wait = (epoch + index * plan.interval_ns - monotonic_ns()) / 1e9
    if wait > 0:
        await asyncio.sleep(wait)


async def serve(port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    info = grpc.unary_unary_rpc_method_handler(
        get_server_info,
        request_deserializer=GetServerInfoRequest.FromString,
        response_serializer=GetServerInfoResponse.SerializeToString,
    )
    stream: grpc.RpcMethodHandler[SendMessageRequest, bytes] = grpc.unary_stream_rpc_method_handler(
        send_message, request_deserializer=SendMessageRequest.FromString, response_serializer=None
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler("chatter.v1.SystemService", {"GetServerInfo": info}),
            grpc.method_handlers_generic_handler("chatter.v1.ChatService", {"SendMessage": stream}),
        )
    )
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await wait_for_signal()
    await server.stop(grace=1)


def main(port: Annotated[int, typer.Option()]) -> None:
    """Serve on a port of 127.0.0.1."""
    asyncio.run(serve(port))


if __name__ == "__main__":
    typer.run(main)
