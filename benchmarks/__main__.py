"""`python -m benchmarks`: run the benchmarks, print their tables, and fail where a bar is missed."""

import asyncio
import signal
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.document import document
from benchmarks.plot import draw
from benchmarks.report import Finding, print_finding, write_findings
from benchmarks.suite import WINDOWS, Benchmark, Options, Suite


def count_windows(benchmarks: list[Benchmark], repetitions: int) -> int:
    """How many times the progress bar advances: once per side and repetition."""
    return sum(WINDOWS[benchmark] * repetitions for benchmark in benchmarks)


async def run_all(benchmarks: list[Benchmark], options: Options, console: Console) -> list[Finding]:
    """Run the benchmarks one after the other, with a progress bar; SIGTERM ends them as Ctrl-C does."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    findings: list[Finding] = []
    with (
        tempfile.TemporaryDirectory(prefix="chatter-benchmarks-", ignore_cleanup_errors=True) as directory,
        Progress(*columns, console=console, transient=True) as progress,
    ):
        # PostgreSQL runs as a user of its own.
        await asyncio.to_thread(Path(directory).chmod, 0o755)
        bar = progress.add_task("", total=count_windows(benchmarks, options.repetitions))
        suite = Suite(options, Path(directory), lambda: progress.advance(bar))
        for number, benchmark in enumerate(benchmarks, 1):
            progress.update(bar, description=benchmark)
            findings.append(await suite.run(benchmark))
            progress.update(bar, completed=count_windows(benchmarks[:number], options.repetitions))
            print_finding(console, findings[-1])
    return findings


def shorten(options: Options) -> Options:
    """As little as shows that everything works: its figures mean nothing."""
    return replace(
        options,
        streams=min(options.streams, 16),
        tokens=min(options.tokens, 100),
        calls=min(options.calls, 200),
        repetitions=1,
        held_seconds=min(options.held_seconds, 1.0),
        most_held=min(options.most_held, 64),
    )


def main(
    only: Annotated[list[Benchmark] | None, typer.Option(help="May be repeated; default: all.")] = None,
    streams: Annotated[int, typer.Option(min=1, help="Streams at once.")] = 64,
    tokens: Annotated[int, typer.Option(min=2, help="Tokens of each answer.")] = 500,
    rate: Annotated[float, typer.Option(min=0.1, help="Tokens per second of a paced stream.")] = 50.0,
    calls: Annotated[int, typer.Option(min=1, help="Unary calls per repetition.")] = 2_000,
    repetitions: Annotated[int, typer.Option(min=1, help="Repetitions of each side.")] = 3,
    held_seconds: Annotated[float, typer.Option(min=1, help="How long a stream lasts where many are held.")] = 6.0,
    most_held: Annotated[int, typer.Option(min=1, help="Streams beyond which it is not searched.")] = 4_096,
    quick: Annotated[bool, typer.Option("--quick", help="Little of everything, to see that it works.")] = False,
) -> None:
    """Compare our whole server with simpler ones on this machine; exit with 1 where a bar is missed."""
    options = Options(
        streams=streams,
        tokens=tokens,
        rate=rate,
        calls=calls,
        repetitions=repetitions,
        held_seconds=held_seconds,
        most_held=most_held,
    )
    whole = not only and not quick
    console = Console()
    findings = asyncio.run(run_all(only or list(Benchmark), shorten(options) if quick else options, console))
    paths = write_findings(findings, whole=whole)
    if whole:
        paths += [draw(findings), document(findings)]
    console.print("Written:", *(str(path) for path in paths), style="dim", soft_wrap=True)
    if not all(bar.met for finding in findings for bar in finding.bars):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
