"""The command line `chatter-grpc`."""

import os
from typing import Annotated

import typer

from chatter_grpc import __version__
from chatter_grpc.cli.commands import Commands

NAME = "chatter-grpc"


def main() -> None:
    """Run the command that the process's arguments name, and exit with its code: 2 where it was called wrongly."""
    # The log is one JSON object a line; gRPC's core writes lines of its own, which GRPC_VERBOSITY=error brings back.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    all_commands()(prog_name=NAME)


def all_commands() -> typer.Typer:
    """Return the command line, for this process's arguments or a test's."""
    app = typer.Typer(
        name=NAME, cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
    )
    app.callback()(_describe)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{NAME} {__version__}")
        raise typer.Exit


def _describe(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """A self-hosted AI chat backend in which every answer is a durable run, spoken over gRPC.

    Settings are environment variables that begin with CHATTER_; `chatter-grpc config` lists them.
    """
