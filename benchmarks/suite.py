"""The benchmarks on streams, each with processes of its own: which sides it starts, and what it makes of them."""

import asyncio
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import StrEnum
from math import nan
from pathlib import Path
from typing import Final

import grpc
import psutil
from rich.table import Table

from benchmarks.answers import AnswerPlan
from benchmarks.holding import CLOSER, FACTOR, HeldStreams
from benchmarks.load.client import LoadFailed
from benchmarks.load.worker import LoadWorker, start_worker
from benchmarks.ours import SERVE, SERVE_UNLOGGED, OurSide, migrate, start_ours
from benchmarks.processes import Child, ProcessFailed
from benchmarks.report import Bar, Finding
from benchmarks.sides import OURS, Side, call_directly, start_afternoon, start_bare, start_fastapi, start_provider
from benchmarks.storage.postgres import postgres_databases
from benchmarks.streaming import Outcome, Shape, StreamBenchmark
from benchmarks.summaries import (
    summarize_burst,
    summarize_first,
    summarize_flat,
    summarize_held,
    summarize_log,
    summarize_paced,
    summarize_replica,
)
from benchmarks.unary import measure_unary

FIRST_STREAMS: Final = 20
"""Streams whose first token is measured, one after the other."""
FIRST_PAUSE: Final = 0.15
"""Seconds from one to the next, of which each takes a tenth."""
JOIN_SECONDS: Final = 1.0
"""What a reader on another replica may take to catch up, before it is measured how far behind it is."""


FAILURES: Final = (
    ProcessFailed,
    LoadFailed,
    OSError,
    grpc.RpcError,
    psutil.Error,
    subprocess.SubprocessError,
    RuntimeError,
)
"""What a benchmark may come to, beside its figures: of processes, of connections, of what they answer."""


class Benchmark(StrEnum):
    """What can be measured."""

    UNARY = "unary"
    FLAT = "flat"
    PACED = "paced"
    FIRST = "first"
    BURST = "burst"
    HELD = "held"
    LOG = "log"
    LOG_POSTGRES = "log-postgres"
    REPLICA = "replica"


BARS: Final[dict[Benchmark, tuple[Bar, ...]]] = {
    Benchmark.UNARY: (Bar(name="unary_ratio", value=nan, limit=3.0),),
    Benchmark.FLAT: (Bar(name="flat_ratio", value=nan, limit=0.10),),
    Benchmark.PACED: (
        Bar(name="paced_ratio", value=nan, limit=0.35),
        Bar(name="late_p99_over_bare_ms", value=nan, limit=10.0),
    ),
    Benchmark.FIRST: (Bar(name="first_token_over_bare_ms", value=nan, limit=5.0),),
    Benchmark.BURST: (Bar(name="burst_ratio", value=nan, limit=0.35),),
    Benchmark.HELD: (Bar(name="held_ratio", value=nan, limit=8.0, at_least=True),),
    Benchmark.LOG: (Bar(name="log_ratio", value=nan, limit=1.3),),
    Benchmark.LOG_POSTGRES: (Bar(name="log_ratio_postgres", value=nan, limit=1.3),),
    Benchmark.REPLICA: (Bar(name="replica_p99_ms", value=nan, limit=100.0),),
}
"""The bars of each benchmark, by the names of the figures that they are for."""

WINDOWS: Final[dict[Benchmark, int]] = {
    Benchmark.UNARY: 2,
    Benchmark.FLAT: 5,
    Benchmark.PACED: 5,
    Benchmark.FIRST: 3,
    Benchmark.BURST: 3,
    Benchmark.HELD: 2,
    Benchmark.LOG: 2,
    Benchmark.LOG_POSTGRES: 2,
    Benchmark.REPLICA: 1,
}
"""How often the progress bar advances in each repetition: once per side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How much is measured."""

    streams: int
    tokens: int
    rate: float
    calls: int
    repetitions: int
    held_seconds: float
    """How long each stream lasts where it is searched how many are held."""
    most_held: int
    """More streams than this are not tried."""


class Suite:
    """Runs benchmarks, each with processes of its own."""

    def __init__(self, options: Options, scratch: Path, advance: Callable[[], None]) -> None:
        self._options = options
        self._scratch = scratch
        self._advance = advance
        self._paced = AnswerPlan(tokens=options.tokens, rate=options.rate)
        self._flat = AnswerPlan(tokens=options.tokens)
        self._all = Shape(streams=options.streams)
        self._measures: dict[Benchmark, Callable[[Stage], Awaitable[Finding]]] = {
            Benchmark.UNARY: self._run_unary,
            Benchmark.FLAT: self._run_flat,
            Benchmark.PACED: self._run_paced,
            Benchmark.FIRST: self._run_first,
            Benchmark.BURST: self._run_burst,
            Benchmark.HELD: self._run_held,
            Benchmark.LOG: self._run_log,
            Benchmark.LOG_POSTGRES: self._run_log_postgres,
            Benchmark.REPLICA: self._run_replica,
        }

    async def run(self, benchmark: Benchmark) -> Finding:
        """Start the sides, measure them, stop them; what cannot be measured is a finding too, that misses its bars."""
        scratch = self._scratch / benchmark
        await asyncio.to_thread(scratch.mkdir)
        try:
            async with AsyncExitStack() as stack:
                worker = await stack.enter_async_context(start_worker())
                provider = await stack.enter_async_context(start_provider(scratch))
                stage = Stage(stack=stack, scratch=scratch, worker=worker, provider=provider)
                finding = await self._measures[benchmark](stage)
        except FAILURES as failure:
            return fail(benchmark, failure)
        return set_bars(benchmark, finding)

    async def _run_unary(self, stage: "Stage") -> Finding:
        bare = await stage.stack.enter_async_context(start_bare(stage.scratch))
        ours = await stage.start_ours(self._flat)
        options = self._options
        return await measure_unary(
            ours, bare, stage.worker, calls=options.calls, repetitions=options.repetitions, advance=self._advance
        )

    async def _run_flat(self, stage: "Stage") -> Finding:
        sides = await stage.start_all(self._flat)
        return summarize_flat(self._flat, self._all, await self._measure(stage, self._flat, sides, self._all))

    async def _run_paced(self, stage: "Stage") -> Finding:
        sides = await stage.start_all(self._paced)
        return summarize_paced(self._paced, self._all, await self._measure(stage, self._paced, sides, self._all))

    async def _run_first(self, stage: "Stage") -> Finding:
        plan = AnswerPlan(tokens=min(20, self._options.tokens))
        shape = Shape(streams=FIRST_STREAMS, spread=FIRST_STREAMS * FIRST_PAUSE)
        return summarize_first(plan, shape, await self._measure(stage, plan, await stage.start_three(plan), shape))

    async def _run_burst(self, stage: "Stage") -> Finding:
        # Long enough for all to have begun before the first ends.
        plan = AnswerPlan(tokens=min(2 * round(self._options.rate), self._options.tokens), rate=self._options.rate)
        sides = await stage.start_three(plan)
        return summarize_burst(plan, self._all, await self._measure(stage, plan, sides, self._all))

    async def _run_held(self, stage: "Stage") -> Finding:
        plan = AnswerPlan(tokens=round(self._options.held_seconds * self._options.rate), rate=self._options.rate)
        afternoon = await stage.stack.enter_async_context(start_afternoon(stage.scratch, stage.provider, plan))
        ours = await stage.start_ours(plan)
        benchmark = StreamBenchmark(provider=stage.provider, worker=stage.worker, plan=plan)
        held = HeldStreams(benchmark, most=self._options.most_held)
        found: dict[str, list[int]] = {afternoon.name: [], ours.name: []}
        starts = {afternoon.name: 16, ours.name: 128}
        for repetition in range(self._options.repetitions):
            for side in (afternoon, ours)[:: -1 if repetition % 2 else 1]:
                before = found[side.name][-1] if found[side.name] else 0
                factor = CLOSER if before else FACTOR
                found[side.name].append(await held.find(side, first=before or starts[side.name], factor=factor))
                self._advance()
        return summarize_held(plan, found, held.trials)

    async def _run_log(self, stage: "Stage") -> Finding:
        sides = (
            await stage.start_ours(self._paced, name="log off", command=SERVE_UNLOGGED),
            await stage.start_ours(self._paced, name="log on"),
        )
        outcomes = await self._measure(stage, self._paced, sides, self._all)
        return summarize_log("log", self._paced, self._all, outcomes)

    async def _run_log_postgres(self, stage: "Stage") -> Finding:
        urls = await stage.start_postgres("off", "on")
        sides = (
            await stage.start_ours(self._paced, name="log off", command=SERVE_UNLOGGED, database=urls["off"]),
            await stage.start_ours(self._paced, name="log on", database=urls["on"]),
        )
        outcomes = await self._measure(stage, self._paced, sides, self._all)
        return summarize_log("log_postgres", self._paced, self._all, outcomes)

    async def _run_replica(self, stage: "Stage") -> Finding:
        url = (await stage.start_postgres("shared"))["shared"]
        here = await stage.start_ours(self._paced, name="replica at work", database=url)
        there = await stage.start_ours(self._paced, name="replica that reads", database=url)
        benchmark = StreamBenchmark(
            provider=stage.provider, worker=stage.worker, plan=self._paced, database=stage.database
        )
        outcome = Outcome()
        for _ in range(self._options.repetitions):
            runs = await here.start_runs(self._options.streams, self._paced)
            calls = [here.prepare_watch(run_id) for run_id in runs]
            deadline = self._paced.tokens / self._paced.rate + 60.0
            result = await benchmark.run(there, benchmark.watch(there, calls, skipped=JOIN_SECONDS, deadline=deadline))
            outcome.reports.append(None if isinstance(result, str) else result)
            outcome.faults += [result] if isinstance(result, str) else []
            self._advance()
        return summarize_replica(self._paced, self._all, {there.name: outcome})

    async def _measure(
        self, stage: "Stage", plan: AnswerPlan, sides: Sequence[Side], shape: Shape
    ) -> dict[str, Outcome]:
        benchmark = StreamBenchmark(provider=stage.provider, worker=stage.worker, plan=plan, database=stage.database)
        return await benchmark.measure(sides, shape, repetitions=self._options.repetitions, advance=self._advance)


@dataclass(slots=True, kw_only=True)
class Stage:
    """What every benchmark has: the provider's stand-in and the load's process; and it starts the sides."""

    stack: AsyncExitStack
    scratch: Path
    worker: LoadWorker
    provider: Child
    database: int | None = None
    """The process id of PostgreSQL, where one was started."""

    async def start_ours(
        self, plan: AnswerPlan, *, name: str = OURS, command: Sequence[str] = SERVE, database: str | None = None
    ) -> OurSide:
        """A server of ours, by default as it is."""
        side = start_ours(self.scratch, self.provider, plan, name=name, command=command, database=database)
        return await self.stack.enter_async_context(side)

    async def start_three(self, plan: AnswerPlan) -> tuple[Side, ...]:
        """The floor, what ours is compared with, and ours."""
        bare = await self.stack.enter_async_context(start_bare(self.scratch))
        afternoon = await self.stack.enter_async_context(start_afternoon(self.scratch, self.provider, plan))
        return bare, afternoon, await self.start_ours(plan)

    async def start_all(self, plan: AnswerPlan) -> tuple[Side, ...]:
        """All sides."""
        fastapi = await self.stack.enter_async_context(start_fastapi(self.scratch, self.provider, plan))
        bare, afternoon, ours = await self.start_three(plan)
        return call_directly(self.provider), bare, fastapi, afternoon, ours

    async def start_postgres(self, *names: str) -> dict[str, str]:
        """PostgreSQL as it comes, with migrated databases of these names; their URLs."""
        directory = self.scratch / "postgres"
        await asyncio.to_thread(directory.mkdir)
        context = postgres_databases(directory, names, durable=True)
        urls = await asyncio.to_thread(context.__enter__)
        self.stack.push_async_callback(asyncio.to_thread, context.__exit__, None, None, None)
        self.database = int((directory / "data" / "postmaster.pid").read_text().split()[0])
        for url in urls.values():
            await migrate(url)
        return urls


def set_bars(benchmark: Benchmark, finding: Finding) -> Finding:
    """The finding with the bars of its benchmark, each with the figure of its name."""
    finding.bars = tuple(
        Bar(name=bar.name, value=finding.ratios.get(bar.name, nan), limit=bar.limit, at_least=bar.at_least)
        for bar in BARS[benchmark]
    )
    return finding


def fail(benchmark: Benchmark, failure: Exception) -> Finding:
    """The finding of a benchmark that could not be measured."""
    said = "\n".join([f"{type(failure).__name__}: {failure}", *getattr(failure, "__notes__", ())])
    table = Table("what went wrong", title=f"{benchmark}: not measured")
    table.add_row(said[:2_000])
    return Finding(
        name=benchmark.replace("-", "_"),
        file="unary" if benchmark is Benchmark.UNARY else "streaming",
        table=table,
        ratios={bar.name: nan for bar in BARS[benchmark]},
        figures={"failed": said},
        bars=BARS[benchmark],
    )
