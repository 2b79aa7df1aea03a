"""Prints the audit log, as a table or as a line of JSON for each row."""

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from chatter_grpc.core.audit import AuditEntry
from chatter_grpc.core.pages import Position

COLUMNS: Final = ("TIME (UTC)", "METHOD", "ACTOR", "RESOURCE", "OUTCOME", "ADDRESS", "CALL")
# Wide enough for every column; a pipe has no width to fit into.
PIPE_WIDTH: Final = 280


def print_entries(entries: Iterable[AuditEntry], *, as_json: bool) -> None:
    """Print rows to stdout."""
    if as_json:
        for entry in entries:
            typer.echo(json.dumps({**asdict(entry), "at": entry.at.isoformat()}))
        return
    table = Table(*COLUMNS, box=None)
    for entry in entries:
        method = entry.method.rpartition(".")[2]
        resource = f"{entry.resource_kind} {entry.resource_id}"
        cells = (method, entry.actor_id, resource, entry.outcome, entry.address, entry.call_id)
        # Call ids are the clients' own: they are text, whatever brackets they hold.
        table.add_row(f"{entry.at:%Y-%m-%d %H:%M:%S}", *map(Text, cells))
    Console(width=None if sys.stdout.isatty() else PIPE_WIDTH).print(table)


def shown_position(position: Position) -> str:
    """Return where a page of the log ended, as ``--after`` takes it."""
    moment, entry_id = position
    return f"{moment}.{entry_id}"


def read_position(shown: str) -> Position | None:
    """Return the position that ``--after`` names, ``None`` for the beginning; raises ``typer.BadParameter``."""
    if not shown:
        return None
    moment, _, entry_id = shown.partition(".")
    if not (moment.isascii() and moment.isdecimal() and len(moment) < 18 and entry_id):
        raise typer.BadParameter("give what the page before ended with", param_hint="--after")
    return int(moment), entry_id
