"""`chatter-grpc health`: whether a running server serves, for containers and scripts."""

import asyncio
from typing import Annotated

import grpc
import typer
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from chatter_grpc.cli.addresses import reachable
from chatter_grpc.cli.faults import EXIT_FAILED, complain, said_plainly
from chatter_grpc.config import load_settings

app = typer.Typer(add_completion=False)


def health(
    address: Annotated[
        str | None, typer.Option("--address", metavar="ADDRESS", help="Whom to ask; otherwise CHATTER_LISTEN.")
    ] = None,
    service: Annotated[
        str, typer.Option("--service", metavar="NAME", help="Ask for one service, as in chatter.v1.ChatService.")
    ] = "",
    seconds: Annotated[float, typer.Option("--timeout", min=0.1, max=600, help="Seconds to wait.")] = 3.0,
) -> None:
    """Ask a running server whether it serves.

    Prints the status that `grpc.health.v1` gives and exits with 0 if it is SERVING, with 1 for everything else.
    """
    with said_plainly():
        target = reachable(load_settings().listen if address is None else address)
    try:
        status = asyncio.run(ask(target, service, seconds))
    except grpc.aio.AioRpcError as error:
        complain(f"{target} answers {error.code().name}: {error.details() or service}")
    typer.echo(status)
    if status != "SERVING":
        raise typer.Exit(EXIT_FAILED)


app.command()(health)


async def ask(target: str, service: str, seconds: float) -> str:
    """Return the status's name; raises ``grpc.aio.AioRpcError`` where none comes within the time."""
    async with grpc.aio.insecure_channel(target) as channel:
        answer = await HealthStub(channel).Check(HealthCheckRequest(service=service), timeout=seconds)
    return str(HealthCheckResponse.ServingStatus.Name(answer.status))
