"""What a benchmark found: figures for a file, a table for a person, and bars that are met or missed."""

import json
import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
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
    """A figure that may not exceed its limit."""

    name: str
    value: float
    limit: float

    @property
    def met(self) -> bool:
        """Whether it holds."""
        return self.value <= self.limit

    def describe(self) -> str:
        """One line for the console."""
        verdict = "[green]met[/green]" if self.met else "[bold red]missed[/bold red]"
        return f"{self.name}: {self.value:.3f}, at most {self.limit:g}: {verdict}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The outcome of one benchmark."""

    name: str
    """Also the name of its file."""
    table: Table
    figures: dict[str, Any]
    bars: tuple[Bar, ...]


def compare(ours: list[float], theirs: list[float]) -> float:
    """The median, over the repetitions, of ours divided by theirs of the same repetition."""
    return median(a / b for a, b in zip(ours, theirs, strict=True))


def spread(values: list[float], digits: int = 1) -> str:
    """The median, and the range where there are several: `12.3 (11.9-12.8)`."""
    text = f"{median(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def write_finding(finding: Finding) -> Path:
    """Write a finding's figures, its bars and what they were measured on, to `benchmarks/out/<name>.json`."""
    OUT.mkdir(exist_ok=True)
    path = OUT / f"{finding.name}.json"
    bars = [{"name": b.name, "value": b.value, "limit": b.limit, "met": b.met} for b in finding.bars]
    content = {**finding.figures, "bars": bars, "measured": describe_machine()}
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path


def describe_machine() -> dict[str, Any]:
    """What the figures hold for."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)),
        "versions": {name: version(name) for name in VERSIONED},
    }


def print_finding(console: Console, finding: Finding, path: Path) -> None:
    """Print a finding's table and bars."""
    console.print(finding.table)
    for bar in finding.bars:
        console.print(bar.describe())
    console.print(f"[dim]{path}[/dim]\n")
