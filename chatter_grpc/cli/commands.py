"""The list of commands, each loaded when it is called: what one needs is no burden on the others, nor on the help."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A command: the module whose ``app`` it is, and the line that the list of commands says about it."""

    module: str
    summary: str


COMMANDS: Final[Mapping[str, Entry]] = {
    "demo": Entry(
        module="chatter_grpc.cli.demo.command",
        summary="Start a server in a temporary directory, ask it about a text, and watch the answer arrive.",
    ),
    "serve": Entry(module="chatter_grpc.cli.serve", summary="Serve until told to stop."),
    "health": Entry(module="chatter_grpc.cli.health", summary="Ask a running server whether it serves."),
    "migrate": Entry(module="chatter_grpc.cli.migrate", summary="Bring the database's tables up to this version."),
    "admin": Entry(module="chatter_grpc.cli.accounts", summary="Accounts, API keys, the audit log and signing keys."),
    "config": Entry(module="chatter_grpc.cli.config", summary="Show every setting, its value and where that is from."),
    "policy": Entry(module="chatter_grpc.cli.policy", summary="Show who may call which method, and what a call costs."),
}


class Commands(TyperGroup):
    """A group of commands that imports the module of the one that is called, and of no other."""

    def __init__(self, **attributes: Any) -> None:
        """Take typer's attributes; stand-ins that know their summary alone make up the list of commands."""
        super().__init__(**attributes)
        self.commands = {name: TyperCommand(name, help=entry.summary) for name, entry in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Replace the stand-in of the command that is called by the command itself."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if name is None else load_command(name), rest


def load_command(name: str) -> Any:
    """Import a command's module and return its command."""
    app = import_module(COMMANDS[name].module).app
    assert isinstance(app, typer.Typer)
    return get_command(app)
