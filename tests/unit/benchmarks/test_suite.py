"""Figures come from what was measured on both sides; what failed is a finding that misses its bars."""

from math import isnan
from pathlib import Path

import pytest

from benchmarks.answers import AnswerPlan
from benchmarks.load.client import list_late_ms
from benchmarks.load.folding import StreamRecord, Wire
from benchmarks.load.jobs import Effort, StreamJob, StreamReport, Target
from benchmarks.plot import draw
from benchmarks.processes import ProcessFailed
from benchmarks.report import Finding
from benchmarks.sides import AFTERNOON, BARE, DIRECT, FASTAPI, OURS
from benchmarks.streaming import Outcome, Shape
from benchmarks.suite import BARS, Benchmark, Options, Stage, Suite, set_bars
from benchmarks.summaries import summarize_burst, summarize_held, summarize_log, summarize_paced, summarize_replica

PLAN = AnswerPlan(tokens=100, rate=50)
SHAPE = Shape(streams=4)


def report(*, cpu: float, late: float = 1.0, first: float = 1.0) -> StreamReport:
    return StreamReport(
        effort=Effort(wall=2.0, cpu={"server": cpu, "load": 0.5}),
        streams=4,
        tokens=400,
        messages=100,
        wire_bytes=1,
        first_token_ms=(first, 2 * first),
        late_ms=(late / 2, late),
    )


def outcome(*reports: StreamReport | None) -> Outcome:
    return Outcome(reports=list(reports), faults=["broken" for each in reports if each is None])


def paced(*ours: StreamReport | None) -> Finding:
    others = {side: outcome(*[report(cpu=4.0, late=3.0) for _ in ours]) for side in (DIRECT, BARE, FASTAPI, AFTERNOON)}
    return summarize_paced(PLAN, SHAPE, {**others, OURS: outcome(*ours)})


def test_cost_is_compared_with_the_afternoon_server_and_lateness_with_the_bare_one() -> None:
    finding = set_bars(Benchmark.PACED, paced(report(cpu=1.0, late=5.0), report(cpu=2.0, late=9.0), report(cpu=1.0)))
    assert finding.ratios == {"paced_ratio": 0.25, "late_p99_over_bare_ms": 2.0}
    assert [bar.met for bar in finding.bars] == [True, True]


def test_a_side_that_never_was_complete_leaves_no_figure_and_misses_the_bars() -> None:
    finding = set_bars(Benchmark.PACED, paced(None, None))
    assert all(isnan(value) for value in finding.ratios.values())
    assert not any(bar.met for bar in finding.bars)
    assert finding.figures["faults"] == {OURS: ["broken", "broken"]}
    assert "broken" in str(finding.table.caption)


def test_a_burst_compares_what_comes_on_top_of_the_bare_server() -> None:
    outcomes = {
        BARE: outcome(report(cpu=1.0, first=10.0)),
        AFTERNOON: outcome(report(cpu=1.0, first=110.0)),
        OURS: outcome(report(cpu=1.0, first=40.0)),
    }
    assert summarize_burst(PLAN, SHAPE, outcomes).ratios == {"burst_ratio": 0.3}


@pytest.mark.parametrize(("name", "key"), [("log", "log_ratio"), ("log_postgres", "log_ratio_postgres")])
def test_the_log_is_compared_with_none(name: str, key: str) -> None:
    outcomes = {"log off": outcome(report(cpu=1.0)), "log on": outcome(report(cpu=1.25))}
    assert summarize_log(name, PLAN, SHAPE, outcomes).ratios == {key: 1.25}


def test_held_streams_are_compared_within_each_repetition() -> None:
    finding = set_bars(Benchmark.HELD, summarize_held(PLAN, {OURS: [400, 300], AFTERNOON: [40, 30]}, {}))
    assert finding.ratios == {"held_ratio": 10.0}
    assert finding.bars[0].met


def test_a_replica_that_was_never_complete_has_no_figure() -> None:
    assert summarize_replica(PLAN, SHAPE, {"there": outcome(None)}).ratios == {}
    assert summarize_replica(PLAN, SHAPE, {"there": outcome(report(cpu=1, late=60))}).ratios == {"replica_p99_ms": 60}


async def test_a_process_that_fails_is_a_finding_and_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def break_down(stage: Stage, *names: str) -> dict[str, str]:
        raise ProcessFailed("there is no PostgreSQL here")

    monkeypatch.setattr(Stage, "start_postgres", break_down)
    options = Options(streams=1, tokens=2, rate=50, calls=1, repetitions=1, held_seconds=1, most_held=1)
    finding = await Suite(options, tmp_path, lambda: None).run(Benchmark.REPLICA)
    assert [bar.name for bar in finding.bars] == [bar.name for bar in BARS[Benchmark.REPLICA]]
    assert not any(bar.met for bar in finding.bars)
    assert "no PostgreSQL" in finding.figures["failed"]


def test_tokens_that_a_stream_came_too_late_for_are_not_late() -> None:
    record = StreamRecord(
        messages=3,
        tokens=3,
        wire_bytes=1,
        started=30_000_000,
        first_token=35_000_000,
        ended=9,
        epoch=0,
        lateness=[35_000_000, 15_000_000, 1_000_000],
    )
    job = StreamJob(target=Target(port=1, watch=()), calls=(), wire=Wire.RUN, plan=AnswerPlan(tokens=3, rate=50))
    assert list_late_ms(record, job) == [35.0, 15.0, 1.0]
    joining = StreamJob(target=job.target, calls=(), wire=job.wire, plan=job.plan, skipped=0.01)
    assert list_late_ms(record, joining) == [1.0]


def test_the_picture_is_the_same_for_the_same_figures_and_leaves_out_what_is_missing(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="installed for the benchmarks alone")
    findings = [paced(report(cpu=1.0)), summarize_held(PLAN, {OURS: [400], AFTERNOON: [40]}, {})]
    first, second = (draw(findings, tmp_path / name).read_bytes() for name in ("a.svg", "b.svg"))
    assert first == second
    assert b"chatter-grpc" in first
    assert b"<svg" in draw([], tmp_path / "c.svg").read_bytes()
