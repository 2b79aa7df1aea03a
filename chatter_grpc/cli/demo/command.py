"""`chatter-grpc demo`: starts a server, lets the client talk to it, and says how to go on."""

import asyncio
import signal
import sys
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final

import grpc
import typer

from chatter_grpc.cli.demo.client import DemoClient
from chatter_grpc.cli.demo.screen import CheckFailed, Screen
from chatter_grpc.cli.demo.server import DemoServer, ServerFailed, run_server
from chatter_grpc.cli.faults import complain

TEXT: Final = "gettysburg.txt"
QUESTION: Final = "What can the world never forget?"
# What a shell reports for a process that Ctrl-C ended.
INTERRUPTED: Final = 130

app = typer.Typer(add_completion=False)


def demo(
    question: Annotated[str, typer.Option("--question", help="What to ask about the text.")] = QUESTION,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the server running until Ctrl-C, to repeat the steps by hand.")
    ] = False,
) -> None:
    """Start a server in a temporary directory, ask it about a text, and watch the answer arrive.

    Exits with 0 only if every check held. Nothing stays behind, and no CHATTER_ variable has an effect.
    """
    passage = (files("chatter_grpc.cli.demo") / "texts" / TEXT).read_text().strip()
    try:
        with tempfile.TemporaryDirectory(prefix="chatter-demo-") as scratch:
            asyncio.run(demonstrate(passage, question, Path(scratch), keep=keep))
    except asyncio.CancelledError:
        raise typer.Exit(INTERRUPTED) from None
    except CheckFailed as fault:
        complain(f"This does not hold: {fault}")
    except ServerFailed as fault:
        complain(str(fault))


app.command()(demo)


async def demonstrate(passage: str, question: str, scratch: Path, *, keep: bool) -> None:
    """Run the whole demonstration in an empty directory; raises ``CheckFailed`` and ``ServerFailed``."""
    me = asyncio.current_task()
    assert me is not None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # However it ends, the server is stopped and the directory removed.
        asyncio.get_running_loop().add_signal_handler(number, me.cancel)
    screen = Screen()
    screen.say("Starting a server on embedded defaults in a temporary directory ...")
    async with run_server(scratch) as server:
        screen.say(f"It serves on {server.address}.")
        await converse(server, screen, scratch, passage, question)
        if keep:
            await keep_running(server, screen)
    if not keep:
        say_how_to_go_on(screen)


async def converse(server: DemoServer, screen: Screen, scratch: Path, passage: str, question: str) -> None:
    """Let the client take its steps; raises ``CheckFailed``, and ``ServerFailed`` where a call fails."""
    try:
        async with grpc.aio.insecure_channel(server.address) as channel:
            await DemoClient(channel, server.address, screen, scratch).talk(passage, question)
    except grpc.aio.AioRpcError as error:
        raise await server.failure(f"A call failed with {error.code().name}: {error.details()}") from error


async def keep_running(server: DemoServer, screen: Screen) -> None:
    """Return at Ctrl-C; raises ``ServerFailed`` where the server ends by itself."""
    screen.say(f"\nThe server stays at {server.address}; Ctrl-C stops it and removes its data.")
    sys.stdout.flush()
    try:
        code = await server.wait()
    except asyncio.CancelledError:
        me = asyncio.current_task()
        assert me is not None
        me.uncancel()
        return
    raise await server.failure(f"The server ended with {code}")


def say_how_to_go_on(screen: Screen) -> None:
    """Name the next commands."""
    screen.say("\nEverything held. The server has stopped and its data is removed. From here:")
    screen.command("make demo ARGS=--keep", "the same, and the server stays, for the commands above")
    screen.command("make serve", "a server that keeps its data in ./.chatter, at 127.0.0.1:50051")
    screen.command("CHATTER_OPENAI_API_KEY=... make serve", "the same with a language model to answer")
    screen.say("\n   docs/grpcurl.md has every call by hand, docs/configuration.md every setting.")
