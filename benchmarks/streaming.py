"""Streams of whole servers that relay the same provider's answers: what they cost, and how late their tokens are."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

import grpc
import psutil
from rich.table import Table

from benchmarks.answers import AnswerPlan
from benchmarks.load.client import LoadFailed
from benchmarks.load.jobs import StreamJob, StreamReport, Target
from benchmarks.load.worker import LoadWorker
from benchmarks.processes import Child, read_memory_mb, wait_until_idle
from benchmarks.report import spread
from benchmarks.sides import HttpSide, Side

WARM_UP = 8
"""Streams before the first that count."""
CONNECTIONS = 4
"""Connections that the streams of a side share, where they can."""
PATIENCE = 4.0
"""How many times as long as planned a window may take, beside GRACE."""
GRACE = 30.0
"""Seconds that any window may take longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How many streams there are, and when they start."""

    streams: int
    spread: float = 0.0
    """Seconds from the first start to the last; 0 is all at once."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What one side did, repetition by repetition."""

    reports: list[StreamReport | None] = field(default_factory=list)
    """`None` where not every stream was complete."""
    faults: list[str] = field(default_factory=list)
    """What was wrong there."""
    memory_mb: float = 0.0
    """Resident memory of the server after its last repetition."""

    @property
    def complete(self) -> list[StreamReport]:
        """The reports of repetitions in which every stream was complete."""
        return [report for report in self.reports if report is not None]

    def values(self, figure: Callable[[StreamReport], float]) -> list[float | None]:
        """A figure of each repetition."""
        return [None if report is None else figure(report) for report in self.reports]


class StreamBenchmark:
    """Measures one plan on several sides, in turn."""

    def __init__(self, *, provider: Child, worker: LoadWorker, plan: AnswerPlan, database: int | None = None) -> None:
        self._worker = worker
        self._plan = plan
        self._watch = [("provider", provider.pid)] + ([] if database is None else [("database", database)])

    async def measure(
        self, sides: Sequence[Side], shape: Shape, *, repetitions: int, advance: Callable[[], None]
    ) -> dict[str, Outcome]:
        """The outcome of each side by its name. Every other repetition goes through the sides backwards."""
        for side in sides:
            await self.attempt(side, Shape(streams=min(WARM_UP, shape.streams)))
        outcomes = {side.name: Outcome() for side in sides}
        for repetition in range(repetitions):
            for side in sides[:: -1 if repetition % 2 else 1]:
                outcome = outcomes[side.name]
                result = await self.attempt(side, shape)
                outcome.reports.append(None if isinstance(result, str) else result)
                outcome.faults += [result] if isinstance(result, str) else []
                outcome.memory_mb = read_memory_mb(side.child.pid)
                advance()
        return outcomes

    async def attempt(self, side: Side, shape: Shape) -> StreamReport | str:
        """Stream once: the report, or what was wrong where not every stream was complete within the deadline.

        Raises ProcessFailed where the side's process has ended.
        """
        side.child.check_alive()
        await wait_until_idle(side.child)
        try:
            calls = await side.prepare_streams(shape.streams, self._plan)
        except grpc.RpcError as refusal:
            side.child.check_alive()
            return f"not prepared: {refusal}"
        planned = shape.spread + (self._plan.tokens / self._plan.rate if self._plan.rate else 0.0)
        job = StreamJob(
            target=self._target(side, shape.streams, deadline=planned * PATIENCE + GRACE),
            calls=calls,
            wire=side.wire,
            plan=self._plan,
            spread=shape.spread,
        )
        return await self.run(side, job)

    async def run(self, side: Side, job: StreamJob) -> StreamReport | str:
        """Run a job against a side: the report, or what was wrong. Raises ProcessFailed where its process has ended."""
        try:
            return await self._worker.stream(job)
        except (LoadFailed, OSError, psutil.Error) as failure:
            # A deadline that is over is an OSError, too.
            side.child.check_alive()
            return str(failure) or f"not over after {job.target.deadline:.0f} s"

    def watch(self, side: Side, calls: Sequence[Any], *, skipped: float, deadline: float) -> StreamJob:
        """A job of streams that join runs under way; tokens due in their first seconds are not counted as late."""
        target = self._target(side, len(calls), deadline=deadline)
        return StreamJob(target=target, calls=tuple(calls), wire=side.wire, plan=self._plan, skipped=skipped)

    def _target(self, side: Side, streams: int, *, deadline: float) -> Target:
        http = isinstance(side, HttpSide)
        return Target(
            port=side.child.port,
            watch=(("server", side.child.pid), *self._watch),
            connections=streams if http else CONNECTIONS,
            http=http,
            deadline=deadline,
        )


def count_cpu_us(report: StreamReport) -> float:
    """CPU microseconds of the server process per token."""
    return report.effort.cpu["server"] * 1e6 / report.tokens


def late_p99(report: StreamReport) -> float:
    """Milliseconds; only a paced plan has any."""
    return report.late_ms[1] if report.late_ms is not None else float("nan")


def first_p50(report: StreamReport) -> float:
    """Milliseconds."""
    return report.first_token_ms[0]


def describe_figures(plan: AnswerPlan, shape: Shape, outcomes: dict[str, Outcome]) -> dict[str, Any]:
    """What is written down of a benchmark."""
    return {
        "plan": asdict(plan),
        "shape": asdict(shape),
        "cpu_us_per_token": {
            side: median(map(count_cpu_us, each.complete)) for side, each in outcomes.items() if each.complete
        },
        "rss_mb": {side: outcome.memory_mb for side, outcome in outcomes.items()},
        "faults": {side: outcome.faults for side, outcome in outcomes.items() if outcome.faults},
        "sides": {
            side: [None if report is None else asdict(report) for report in outcome.reports]
            for side, outcome in outcomes.items()
        },
    }


def make_table(title: str, outcomes: dict[str, Outcome]) -> Table:
    """A column per side. The lines of cores tell which process was the bottleneck: 1.0 is a whole core."""
    table = Table("", title=title)
    for side in outcomes:
        table.add_column(side, justify="right")
    columns = [describe_side(outcome) for outcome in outcomes.values()]
    for label in dict.fromkeys(label for column in columns for label in column):
        table.add_row(label, *(column.get(label, "-") for column in columns))
    for side, outcome in outcomes.items():
        if outcome.faults:
            table.caption = f"{table.caption or ''}{side}: {len(outcome.faults)}x {outcome.faults[0][:200]}\n"
    return table


def describe_side(outcome: Outcome) -> dict[str, str]:
    """What the table says of a side, line by line: medians over the repetitions."""
    reports = outcome.complete
    if not reports:
        return {"complete": f"0 of {len(outcome.reports)}"}
    late = [report.late_ms for report in reports if report.late_ms is not None]
    return {
        "complete": f"{len(reports)} of {len(outcome.reports)}",
        "CPU µs per token": spread([count_cpu_us(report) for report in reports]),
        "tokens per message": f"{median(report.tokens / report.messages for report in reports):.1f}",
        "tokens per second": f"{median(report.tokens / report.effort.wall for report in reports):,.0f}",
        "first token, p50 / p99 ms": format_pair([report.first_token_ms for report in reports]),
        **({"late, p50 / p99 ms": format_pair(late)} if late else {}),
        **{
            f"cores, {process}": f"{median(report.effort.share(process) for report in reports):.2f}"
            for process in reports[0].effort.cpu
        },
        "RSS after, MB": f"{outcome.memory_mb:.0f}",
    }


def format_pair(pairs: Iterable[tuple[float, float]]) -> str:
    """The medians of p50 and of p99."""
    pairs = list(pairs)
    return f"{median(pair[0] for pair in pairs):.1f} / {median(pair[1] for pair in pairs):.1f}"
