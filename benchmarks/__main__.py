"""`python -m benchmarks`: run the benchmarks, print their tables, and fail where a bar is missed."""

import asyncio
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.answers import AnswerPlan
from benchmarks.load.worker import LoadWorker, start_worker
from benchmarks.ours import start_ours
from benchmarks.report import Finding, print_finding, write_findings
from benchmarks.sides import Side, start_afternoon, start_bare, start_provider
from benchmarks.streaming import StreamBenchmark, summarize_streaming
from benchmarks.unary import measure_unary

FLAT_LIMIT = 0.15


class Benchmark(StrEnum):
    """What can be measured."""

    UNARY = "unary"
    FLAT = "flat"
    PACED = "paced"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How much is measured."""

    streams: int
    tokens: int
    rate: float
    calls: int
    repetitions: int


class Suite:
    """Runs benchmarks, each with processes of its own."""

    def __init__(self, options: Options, scratch: Path, advance: Callable[[], None]) -> None:
        self._options = options
        self._scratch = scratch
        self._advance = advance

    async def run(self, benchmark: Benchmark) -> Finding:
        """Start the sides, measure them, stop them."""
        plan = AnswerPlan(tokens=self._options.tokens, rate=self._options.rate if benchmark is Benchmark.PACED else 0.0)
        scratch = self._scratch / benchmark
        await asyncio.to_thread(scratch.mkdir)
        async with AsyncExitStack() as stack:
            worker = await stack.enter_async_context(start_worker())
            provider = await stack.enter_async_context(start_provider(scratch))
            bare = await stack.enter_async_context(start_bare(scratch))
            ours = await stack.enter_async_context(start_ours(scratch, provider, plan))
            if benchmark is Benchmark.UNARY:
                return await self._run_unary(worker, ours, bare)
            afternoon = await stack.enter_async_context(start_afternoon(scratch, provider, plan))
            streams = StreamBenchmark(provider=provider, worker=worker, plan=plan, streams=self._options.streams)
            sides = (bare, afternoon, ours)
            reports = await streams.measure(sides, repetitions=self._options.repetitions, advance=self._advance)
            limit = FLAT_LIMIT if benchmark is Benchmark.FLAT else None
            return summarize_streaming(benchmark, plan, sides, reports, limit=limit)

    async def _run_unary(self, worker: LoadWorker, ours: Side, bare: Side) -> Finding:
        return await measure_unary(
            ours,
            bare,
            worker,
            calls=self._options.calls,
            repetitions=self._options.repetitions,
            advance=self._advance,
        )


def count_windows(benchmarks: list[Benchmark], repetitions: int) -> int:
    """How many times the progress bar advances: once per side and repetition."""
    return sum((2 if benchmark is Benchmark.UNARY else 3) * repetitions for benchmark in benchmarks)


async def run_all(benchmarks: list[Benchmark], options: Options, console: Console) -> list[Finding]:
    """Run the benchmarks one after the other, with a progress bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    findings: list[Finding] = []
    with (
        tempfile.TemporaryDirectory(prefix="chatter-benchmarks-") as directory,
        Progress(*columns, console=console, transient=True) as progress,
    ):
        task = progress.add_task("", total=count_windows(benchmarks, options.repetitions))
        suite = Suite(options, Path(directory), lambda: progress.advance(task))
        for benchmark in benchmarks:
            progress.update(task, description=benchmark)
            findings.append(await suite.run(benchmark))
    return findings


def main(
    only: Annotated[list[Benchmark] | None, typer.Option(help="May be repeated; default: unary, flat.")] = None,
    streams: Annotated[int, typer.Option(min=1, help="Streams at once.")] = 64,
    tokens: Annotated[int, typer.Option(min=2, help="Tokens of each answer.")] = 500,
    rate: Annotated[float, typer.Option(min=0.1, help="Tokens per second of a paced stream.")] = 50.0,
    calls: Annotated[int, typer.Option(min=1, help="Unary calls per repetition.")] = 2_000,
    repetitions: Annotated[int, typer.Option(min=1, help="Repetitions of each side.")] = 3,
) -> None:
    """Compare our whole server with simpler ones on this machine; exit with 1 where a bar is missed."""
    options = Options(streams=streams, tokens=tokens, rate=rate, calls=calls, repetitions=repetitions)
    console = Console()
    findings = asyncio.run(run_all(only or [Benchmark.UNARY, Benchmark.FLAT], options, console))
    for finding in findings:
        print_finding(console, finding)
    console.print("Written:", *(str(path) for path in write_findings(findings)), style="dim", soft_wrap=True)
    if not all(bar.met for finding in findings for bar in finding.bars):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
