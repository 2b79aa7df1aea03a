"""The command prints and writes everything, and then fails where a bar is missed."""

import json
from pathlib import Path

import pytest
import typer
from rich.console import Console
from rich.table import Table
from typer.testing import CliRunner

from benchmarks import __main__ as command
from benchmarks import report
from benchmarks.__main__ import count_windows, shorten
from benchmarks.report import Bar, Finding
from benchmarks.suite import BARS, WINDOWS, Benchmark, Options


@pytest.mark.parametrize(("value", "code"), [(0.1, 0), (0.2, 1)])
def test_a_missed_bar_is_the_exit_code_after_everything_is_printed(
    value: float, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "OUT", tmp_path)
    monkeypatch.setattr(report, "VERSIONED", ("grpcio",))
    asked: list[tuple[list[Benchmark], Options]] = []

    async def find(benchmarks: list[Benchmark], options: Options, console: Console) -> list[Finding]:
        asked.append((benchmarks, options))
        bar = Bar(name="flat ratio", value=value, limit=0.15)
        table = Table("side", title="first")
        ratios = {"flat_ratio": value}
        return [
            Finding(name="flat", file="streaming", table=table, ratios=ratios, figures={}, bars=(bar,)),
            Finding(
                name="last", file="last", table=Table("another side", title="second"), ratios={}, figures={}, bars=()
            ),
        ]

    monkeypatch.setattr(command, "run_all", find)
    app = typer.Typer()
    app.command()(command.main)
    result = CliRunner().invoke(app, ["--streams", "3", "--only", "flat"])
    assert result.exit_code == code, result.output
    # Of one benchmark alone: a file's figures are all of one run.
    assert json.loads((tmp_path / "streaming.part.json").read_text())["flat_ratio"] == value
    assert not (tmp_path / "streaming.json").exists()
    (benchmarks, options) = asked[0]
    assert benchmarks == [Benchmark.FLAT]
    assert (options.streams, options.repetitions) == (3, 3)


def test_progress_counts_every_side_of_every_repetition() -> None:
    assert count_windows([Benchmark.UNARY, Benchmark.FLAT], 3) == 2 * 3 + 5 * 3


def test_every_benchmark_has_bars_and_a_share_of_the_progress() -> None:
    assert set(BARS) == set(WINDOWS) == set(Benchmark)
    assert all(BARS.values())


def test_a_quick_run_is_no_longer_than_what_was_asked_for() -> None:
    asked = Options(streams=4, tokens=500, rate=50, calls=9, repetitions=5, held_seconds=6, most_held=4_096)
    quick = shorten(asked)
    assert (quick.streams, quick.tokens, quick.calls, quick.repetitions) == (4, 100, 9, 1)
    assert quick.held_seconds * quick.most_held <= 64
