"""`python -m benchmarks.storage`: lists and searches among few and many messages; fails where a bar is missed."""

import asyncio
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.report import Bar, Finding, print_finding, write_findings
from benchmarks.storage.filling import fill
from benchmarks.storage.measuring import OPERATIONS, Latency, described, measure, open_site
from benchmarks.storage.population import PER_CONVERSATION, Size
from benchmarks.storage.postgres import postgres_databases

LIMIT = 3.0


class Kind(StrEnum):
    """A kind of database."""

    SQLITE = "sqlite"
    POSTGRES = "postgres"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How much is filled in and measured."""

    few: int
    many: int
    per_owner: int
    calls: int

    @property
    def sizes(self) -> dict[str, Size]:
        return {
            "few": Size(messages=self.few, per_owner=self.per_owner),
            "many": Size(messages=self.many, per_owner=self.per_owner),
        }


async def compare_sizes(kind: Kind, urls: Mapping[str, str], options: Options, progress: Progress) -> Finding:
    """Fill the two databases, which are empty, and measure them in turn."""
    for name, size in options.sizes.items():
        task = progress.add_task(f"{kind}: filling in {name}", total=size.messages)
        await fill(urls[name], size, seed=7, advance=partial(progress.advance, task))
    task = progress.add_task(f"{kind}: measuring", total=len(OPERATIONS))
    async with AsyncExitStack() as stack:
        sites = {
            name: await stack.enter_async_context(open_site(urls[name], size)) for name, size in options.sizes.items()
        }
        found = await measure(sites, options.calls, lambda: progress.advance(task))
    return finding_of(kind, found, options)


def finding_of(kind: Kind, found: Mapping[str, Mapping[str, Latency]], options: Options) -> Finding:
    """The table and the bars: what an operation takes with many messages, over what it takes with few."""
    table = Table("operation", "few: p50", "p95", "many: p50", "p95", "ratio of p95", title=f"{kind}, in milliseconds")
    ratios = {}
    for operation, latencies in found.items():
        few, many = latencies["few"], latencies["many"]
        ratio = many.p95 / few.p95
        ratios[f"{kind} {operation}"] = ratio
        figures = (few.p50, few.p95, many.p50, many.p95, ratio)
        table.add_row(operation, *(f"{each:.2f}" for each in figures))
    counts = {"few": options.few, "many": options.many, "messages_per_owner": options.per_owner, "calls": options.calls}
    return Finding(
        name=kind,
        file="storage",
        table=table,
        ratios=ratios,
        figures={"messages": counts, "operations": described(found)},
        bars=tuple(Bar(name=name, value=ratio, limit=LIMIT) for name, ratio in ratios.items()),
    )


@contextmanager
def databases(kind: Kind, directory: Path) -> Iterator[Mapping[str, str]]:
    """Yield the URLs of two empty databases."""
    if kind is Kind.SQLITE:
        yield {name: f"sqlite:///{directory / name}.sqlite3" for name in ("few", "many")}
    else:
        with postgres_databases(directory, ("few", "many")) as urls:
            yield urls


def main(
    only: Annotated[list[Kind] | None, typer.Option(help="May be repeated; default: all.")] = None,
    few: Annotated[int, typer.Option(min=1, help="Messages in the smaller database.")] = 10_000,
    many: Annotated[int, typer.Option(min=1, help="Messages in the larger database.")] = 1_000_000,
    per_owner: Annotated[int, typer.Option(min=PER_CONVERSATION, help="Messages of each owner.")] = 1_000,
    calls: Annotated[int, typer.Option(min=1, help="Calls of each operation on each database.")] = 500,
) -> None:
    """Compare lists and searches among many messages with the same among few; exit with 1 where a bar is missed."""
    options = Options(few=few, many=many, per_owner=per_owner, calls=calls)
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    findings = []
    for kind in only or list(Kind):
        with (
            tempfile.TemporaryDirectory(prefix="chatter-storage-") as scratch,
            databases(kind, Path(scratch)) as urls,
            Progress(*columns, console=console, transient=True) as progress,
        ):
            findings.append(asyncio.run(compare_sizes(kind, urls, options, progress)))
    for finding in findings:
        print_finding(console, finding)
    console.print("Written:", *(str(path) for path in write_findings(findings)), style="dim", soft_wrap=True)
    if not all(bar.met for finding in findings for bar in finding.bars):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
