"""`chatter-grpc policy`: who may call which method, as the contract says it and the server enforces it."""

import json
import sys
from collections.abc import Iterator
from typing import Annotated, Any, Final

import typer
from google.protobuf.descriptor_pb2 import MethodOptions
from rich.console import Console
from rich.table import Table

from chatter_grpc.rpc.contract import SERVICES, methods_of
from chatter_grpc.rpc.policy import read_policies
from chatter_grpc.rpc.service_config import render

app = typer.Typer(add_completion=False)

LEVELS: Final = MethodOptions.IdempotencyLevel
PIPE_WIDTH: Final = 200


def policy(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array instead of a table.")] = False,
    for_clients: Annotated[
        bool, typer.Option("--service-config", help="What clients may repeat by themselves, as gRPC's service config.")
    ] = False,
) -> None:
    """Show who may call which method, and what a call costs.

    Read from the descriptors of the contract: the same that the server enforces. A limit holds for each caller and rate
    class; `cost` is what a call takes of it.
    """
    if for_clients:
        typer.echo(render(), nl=False)
        return
    rows = list(describe_methods())
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table("METHOD", "ANSWER", "ACCESS", "SCOPE", "RATE CLASS", "COST", "REPEATABLE", box=None)
    for row in rows:
        answer = "stream" if row["server_streaming"] else "one"
        repeatable = "" if row["idempotency_level"] == "unknown" else row["idempotency_level"].replace("_", " ")
        name = row["method"].rpartition(".")[2]
        table.add_row(name, answer, row["access"], row["scope"], row["rate_class"], str(row["cost"]), repeatable)
    # A pipe has no width to fit into.
    Console(width=None if sys.stdout.isatty() else PIPE_WIDTH).print(table)


app.command()(policy)


def describe_methods() -> Iterator[dict[str, Any]]:
    """Yield a row for each method, in the contract's order; raises ``ContractFault`` where a policy is missing."""
    policies = read_policies(SERVICES)
    for name, method in methods_of(SERVICES):
        stated = policies[name]
        level = method.GetOptions().idempotency_level
        yield {
            "method": name,
            "access": stated.access.name.lower(),
            "scope": stated.scope,
            "rate_class": stated.rate_class.value,
            "cost": stated.cost,
            "idempotency_level": LEVELS.Name(level).removeprefix("IDEMPOTENCY_").lower(),
            "server_streaming": method.server_streaming,
        }
