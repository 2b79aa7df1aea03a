"""What the interceptors cost: an authenticated GetServerInfo of ours over a bare grpc.aio handler."""

from collections.abc import Callable
from dataclasses import asdict
from statistics import median

from rich.table import Table

from benchmarks.load.jobs import Target, UnaryJob, UnaryReport
from benchmarks.load.worker import LoadWorker
from benchmarks.report import Bar, Finding, compare, spread
from benchmarks.sides import InfoSide

BAR = 3.0
WARM_UP = 200
"""Calls before the first that counts."""


async def measure_unary(
    ours: InfoSide, bare: InfoSide, worker: LoadWorker, *, calls: int, repetitions: int, advance: Callable[[], None]
) -> Finding:
    """Call one at a time, the sides in turn, and compare the medians of each repetition."""
    sides = (bare, ours)
    for side in sides:
        await worker.call(plan_job(side, WARM_UP))
    reports: dict[str, list[UnaryReport]] = {side.name: [] for side in sides}
    for repetition in range(repetitions):
        for side in sides[:: -1 if repetition % 2 else 1]:
            reports[side.name].append(await worker.call(plan_job(side, calls)))
            advance()
    return summarize(ours.name, bare.name, reports)


def plan_job(side: InfoSide, calls: int) -> UnaryJob:
    """Calls one after the other."""
    target = Target(port=side.child.port, watch=(("server", side.child.pid),))
    return UnaryJob(target=target, call=side.prepare_info(), count=calls)


def summarize(ours: str, bare: str, reports: dict[str, list[UnaryReport]]) -> Finding:
    """The finding."""
    latency = {name: [report.latency_us[0] for report in each] for name, each in reports.items()}
    cpu = {name: [count_cpu_us(report) for report in each] for name, each in reports.items()}
    ratio = compare(latency[ours], latency[bare])
    table = Table("side", "p50 µs", "p99 µs", "server CPU µs per call", title="GetServerInfo, one at a time")
    for name, each in reports.items():
        p99 = [report.latency_us[1] for report in each]
        table.add_row(name, spread(latency[name], 0), spread(p99, 0), spread(cpu[name], 0))
    ratios = {"unary_ratio": ratio, "unary_cpu_ratio": compare(cpu[ours], cpu[bare])}
    figures = {
        "added_us": median(latency[ours]) - median(latency[bare]),
        "sides": {name: [asdict(report) for report in each] for name, each in reports.items()},
    }
    bar = Bar(name="GetServerInfo, p50 over bare grpc.aio", value=ratio, limit=BAR)
    return Finding(name="unary", file="unary", table=table, ratios=ratios, figures=figures, bars=(bar,))


def count_cpu_us(report: UnaryReport) -> float:
    """CPU microseconds of the server process per call."""
    return report.effort.cpu["server"] * 1e6 / report.calls
