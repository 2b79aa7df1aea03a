"""Reports compare repetition by repetition, and a bar is met up to its limit."""

import json
from math import isnan, nan
from pathlib import Path

import pytest
from rich.table import Table

from benchmarks import report
from benchmarks.figures import percentiles
from benchmarks.load.jobs import Effort, StreamReport, UnaryReport
from benchmarks.report import Bar, Finding, combine, compare, spread, write_findings, write_number
from benchmarks.streaming import count_cpu_us
from benchmarks.unary import summarize


@pytest.mark.parametrize(
    ("values", "expected"),
    [([7.0], (7.0, 7.0)), (list(range(100, 0, -1)), (50, 99)), (list(range(1, 1001)), (500, 990)), ([1, 2], (1, 2))],
)
def test_percentiles_are_values_that_occurred(values: list[float], expected: tuple[float, float]) -> None:
    assert percentiles(values) == expected


def test_there_is_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="nothing"):
        percentiles([])


@pytest.mark.parametrize(("value", "met"), [(0.149, True), (0.15, True), (0.151, False)])
def test_a_bar_is_met_up_to_its_limit(value: float, met: bool) -> None:
    bar = Bar(name="flat", value=value, limit=0.15)
    assert bar.met is met
    assert ("missed" in bar.describe()) is not met


@pytest.mark.parametrize(("value", "met"), [(7.9, False), (8.0, True), (nan, False)])
def test_a_bar_may_be_the_least(value: float, met: bool) -> None:
    bar = Bar(name="held", value=value, limit=8.0, at_least=True)
    assert bar.met is met
    assert "at least" in bar.describe()


def test_what_could_not_be_measured_misses_its_bar_and_is_null_in_the_file() -> None:
    assert not Bar(name="flat", value=nan, limit=0.15).met
    assert write_number(nan) is None
    assert write_number(0.5) == 0.5


def test_repetitions_that_one_side_failed_are_left_out_of_a_comparison() -> None:
    assert combine([None, 4.0, 9.0], [1.0, 2.0, 3.0], lambda a, b: a / b) == 2.5
    assert isnan(combine([None, 1.0], [1.0, None], lambda a, b: a / b))


def test_a_ratio_is_taken_within_each_repetition() -> None:
    assert compare([10.0, 40.0, 30.0], [100.0, 200.0, 100.0]) == 0.2


def test_a_spread_shows_the_range_of_several() -> None:
    assert spread([1.26]) == "1.3"
    assert spread([3.0, 1.0, 2.0]) == "2.0 (1.0-3.0)"


def test_cpu_is_counted_per_token() -> None:
    streams = StreamReport(
        effort=Effort(wall=2.0, cpu={"server": 1.0, "load": 0.5}),
        streams=4,
        tokens=10_000,
        messages=1,
        wire_bytes=1,
        first_token_ms=(1, 1),
        late_ms=None,
    )
    assert count_cpu_us(streams) == 100.0
    assert streams.effort.share("load") == 0.25


def test_findings_of_one_file_are_written_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "OUT", tmp_path)
    monkeypatch.setattr(report, "VERSIONED", ("grpcio",))

    def find(name: str, file: str, value: float) -> Finding:
        bar = Bar(name=name, value=value, limit=0.15)
        ratios = {f"{name}_ratio": value}
        return Finding(name=name, file=file, table=Table(), ratios=ratios, figures={"tokens": 5}, bars=(bar,))

    findings = [find("flat", "streaming", 0.2), find("unary", "unary", 0.1), find("paced", "streaming", 0.1)]
    streaming, unary = write_findings(findings)
    assert (streaming.name, unary.name) == ("streaming.json", "unary.json")
    content = json.loads(streaming.read_text())
    assert (content["flat_ratio"], content["paced_ratio"]) == (0.2, 0.1)
    assert content["bars"] == [
        {"name": "flat", "value": 0.2, "limit": 0.15, "at_least": False, "met": False},
        {"name": "paced", "value": 0.1, "limit": 0.15, "at_least": False, "met": True},
    ]
    assert content["flat"] == content["paced"] == {"tokens": 5}
    assert content["measured"]["cores"] >= 1
    assert "flat_ratio" not in json.loads(unary.read_text())


def test_the_unary_bar_compares_medians_of_the_same_repetition() -> None:
    def repeat(*medians: float) -> list[UnaryReport]:
        effort = Effort(wall=1.0, cpu={"server": 0.5, "load": 0.1})
        return [UnaryReport(effort=effort, calls=1_000, latency_us=(each, 2 * each)) for each in medians]

    finding = summarize("ours", "bare", {"bare": repeat(100, 200, 100), "ours": repeat(250, 500, 400)})
    assert finding.ratios["unary_ratio"] == 2.5
    assert finding.ratios["unary_cpu_ratio"] == 1.0
    assert [bar.met for bar in finding.bars] == [True]
