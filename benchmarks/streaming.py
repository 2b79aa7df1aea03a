"""What a streamed token costs: the CPU time of whole servers that relay the same provider's answers."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from rich.table import Table

from benchmarks.answers import AnswerPlan
from benchmarks.load.jobs import StreamJob, StreamReport, Target
from benchmarks.load.worker import LoadWorker
from benchmarks.processes import Child, read_memory_mb
from benchmarks.report import Bar, Finding, compare, spread
from benchmarks.sides import Side

WARM_UP = 8
"""Streams before the first that count."""
CONNECTIONS = 4
"""Connections that the streams share."""


class StreamBenchmark:
    """Measures one plan on several sides, in turn, with all streams at once."""

    def __init__(self, *, provider: Child, worker: LoadWorker, plan: AnswerPlan, streams: int) -> None:
        self._provider = provider
        self._worker = worker
        self._plan = plan
        self._streams = streams

    async def measure(
        self, sides: Sequence[Side], *, repetitions: int, advance: Callable[[], None]
    ) -> dict[str, list[StreamReport]]:
        """The reports of each side by its name. Every other repetition goes through the sides backwards."""
        for side in sides:
            await self._run(side, WARM_UP)
        reports: dict[str, list[StreamReport]] = {side.name: [] for side in sides}
        for repetition in range(repetitions):
            for side in sides[:: -1 if repetition % 2 else 1]:
                reports[side.name].append(await self._run(side, self._streams))
                advance()
        return reports

    async def _run(self, side: Side, streams: int) -> StreamReport:
        watch = (("server", side.child.pid), ("provider", self._provider.pid))
        job = StreamJob(
            target=Target(port=side.child.port, watch=watch, connections=CONNECTIONS),
            calls=await side.prepare_streams(streams, self._plan),
            wire=side.wire,
            plan=self._plan,
        )
        return await self._worker.stream(job)


def count_cpu_us(report: StreamReport) -> float:
    """CPU microseconds of the server process per token."""
    return report.effort.cpu["server"] * 1e6 / report.tokens


def summarize_streaming(
    name: str, plan: AnswerPlan, sides: Sequence[Side], reports: dict[str, list[StreamReport]], *, limit: float | None
) -> Finding:
    """The finding; the last side is compared with the one before it, and may cost `limit` times as much."""
    cpu = {side: [count_cpu_us(report) for report in each] for side, each in reports.items()}
    ours, theirs = sides[-1].name, sides[-2].name
    ratio = compare(cpu[ours], cpu[theirs])
    memory = {side.name: read_memory_mb(side.child.pid) for side in sides}
    first = next(iter(reports.values()))[0]
    table = make_table(f"{first.streams} streams of {plan.model}", reports, cpu, memory)
    figures: dict[str, Any] = {
        "plan": asdict(plan),
        "cpu_us_per_token": {side: median(values) for side, values in cpu.items()},
        "rss_mb": memory,
        "sides": {side: [asdict(report) for report in each] for side, each in reports.items()},
    }
    title = f"{name}, CPU per token, {ours} over {theirs}"
    bars = () if limit is None else (Bar(name=title, value=ratio, limit=limit),)
    return Finding(
        name=name, file="streaming", table=table, ratios={f"{name}_ratio": ratio}, figures=figures, bars=bars
    )


def make_table(
    title: str, reports: dict[str, list[StreamReport]], cpu: dict[str, list[float]], memory: dict[str, float]
) -> Table:
    """A column per side. The lines of cores tell which process was the bottleneck: 1.0 is a whole core."""
    table = Table("", title=title)
    for side in reports:
        table.add_column(side, justify="right")
    columns = [describe_side(each, cpu[side], memory[side]) for side, each in reports.items()]
    for label in columns[0]:
        table.add_row(label, *(column[label] for column in columns))
    return table


def describe_side(reports: Sequence[StreamReport], cpu: list[float], memory: float) -> dict[str, str]:
    """What the table says of a side, line by line: medians over the repetitions."""
    late = [report.late_ms for report in reports if report.late_ms is not None]
    return {
        "CPU µs per token": spread(cpu),
        "tokens per message": f"{median(report.tokens / report.messages for report in reports):.1f}",
        "tokens per second": f"{median(report.tokens / report.effort.wall for report in reports):,.0f}",
        "first token, p50 / p99 ms": format_pair([report.first_token_ms for report in reports]),
        **({"late, p50 / p99 ms": format_pair(late)} if late else {}),
        **{
            f"cores, {process}": f"{median(report.effort.share(process) for report in reports):.2f}"
            for process in ("server", "provider", "load")
        },
        "RSS after, MB": f"{memory:.0f}",
    }


def format_pair(pairs: Sequence[tuple[float, float]]) -> str:
    """The medians of p50 and of p99."""
    return f"{median(pair[0] for pair in pairs):.1f} / {median(pair[1] for pair in pairs):.1f}"
