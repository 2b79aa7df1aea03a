"""What a benchmark found: figures for a file, a table for a person, and bars that are met or missed."""

import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from math import isnan, nan
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

OUT = Path(__file__).parent / "out"
VERSIONED = ("grpcio", "protobuf", "langgraph", "langchain-openai", "uvloop")
"""Distributions whose versions are written down with the figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A figure that may not go beyond its limit."""

    name: str
    value: float
    limit: float
    at_least: bool = False
    """Whether the limit is the least that it may be, instead of the most."""

    @property
    def met(self) -> bool:
        """Whether it holds; what could not be measured, which is not a number, does not."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def describe(self) -> str:
        """One line for the console."""
        verdict = "[green]met[/green]" if self.met else "[bold red]missed[/bold red]"
        bound = "at least" if self.at_least else "at most"
        return f"{self.name}: {self.value:.3f}, {bound} {self.limit:g}: {verdict}"


@dataclass(slots=True, kw_only=True)
class Finding:
    """The outcome of one benchmark."""

    name: str
    file: str
    """The file it goes into, without its ending; several benchmarks may share one."""
    table: Table
    ratios: dict[str, float]
    """The figures that last: comparisons of sides of the same run."""
    figures: dict[str, Any]
    """What was measured."""
    bars: tuple[Bar, ...]


def compare(ours: list[float], theirs: list[float]) -> float:
    """The median, over the repetitions, of ours divided by theirs of the same repetition."""
    return median(a / b for a, b in zip(ours, theirs, strict=True))


def combine(
    ours: Sequence[float | None], theirs: Sequence[float | None], how: Callable[[float, float], float]
) -> float:
    """The median, over the repetitions in which both were measured, of what is made of both; NaN without any."""
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if a is not None and b is not None]
    return median(how(a, b) for a, b in pairs) if pairs else nan


def spread(values: list[float], digits: int = 1) -> str:
    """The median, and the range where there are several: `12.3 (11.9-12.8)`."""
    text = f"{median(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def write_findings(findings: Sequence[Finding], *, whole: bool = True) -> list[Path]:
    """Write `benchmarks/out/<file>.json` for each file that the findings name, replacing it; the paths.

    What is not the whole of a benchmark's figures goes to `<file>.part.json`, so that a file's figures are of one run.
    Ratios stand at the top, then the bars, what was measured by benchmark, and what it was measured on.
    """
    OUT.mkdir(exist_ok=True)
    paths = []
    for file in dict.fromkeys(finding.file for finding in findings):
        together = [finding for finding in findings if finding.file == file]
        content = {
            **{name: write_number(ratio) for finding in together for name, ratio in finding.ratios.items()},
            "bars": [
                {**asdict(bar), "value": write_number(bar.value), "met": bar.met}
                for finding in together
                for bar in finding.bars
            ],
            **{finding.name: finding.figures for finding in together},
            "measured": describe_machine(),
        }
        path = OUT / f"{file}{'' if whole else '.part'}.json"
        path.write_text(json.dumps(content, indent=2) + "\n")
        paths.append(path)
    return paths


def write_number(value: float) -> float | None:
    """A figure as JSON has it; null for one that could not be measured."""
    return None if isnan(value) else value


def describe_machine() -> dict[str, Any]:
    """What the figures hold for."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)),
        "versions": {name: _version(name) for name in VERSIONED},
    }


def print_finding(console: Console, finding: Finding) -> None:
    """Print a finding's table and bars."""
    console.print(finding.table)
    for bar in finding.bars:
        console.print(bar.describe())
    console.print()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
