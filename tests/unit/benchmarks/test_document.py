"""Figures are written between their marks, and nothing else of the document changes."""

from math import nan
from pathlib import Path

import pytest
from rich.table import Table

from benchmarks.document import BEGIN, END, document
from benchmarks.report import Bar, Finding

SIDES = {
    "ours": [
        {"late_ms": [1.0, 2.0], "first_token_ms": [3.0, 4.0], "effort": {"wall": 2.0, "cpu": dict.fromkeys(CPU, 1.0)}}
        for CPU in [("server", "provider", "load")]
    ],
    "theirs": [None],
}
FINDING = Finding(
    name="paced",
    file="streaming",
    table=Table(),
    ratios={},
    figures={
        "plan": {"tokens": 500, "rate": 50.0},
        "shape": {"streams": 64, "spread": 0.0},
        "cpu_us_per_token": {"ours": 98.7},
        "rss_mb": {"ours": 200.0, "theirs": 100.0},
        "sides": SIDES,
    },
    bars=(
        Bar(name="paced_ratio", value=0.3, limit=0.35),
        Bar(name="flat_ratio", value=0.2, limit=0.1),
        Bar(name="held_ratio", value=nan, limit=8, at_least=True),
    ),
)


def test_figures_replace_those_before_them(tmp_path: Path) -> None:
    path = tmp_path / "performance.md"
    path.write_text(f"# Before\n\n{BEGIN}\n\nold\n\n{END}\n\nAfter.\n")
    document([FINDING], path)
    text = path.read_text()
    assert text.startswith(f"# Before\n\n{BEGIN}\n")
    assert text.endswith(f"\n{END}\n\nAfter.\n")
    assert "old" not in text
    assert "| `paced_ratio` | 0.3 | ≤ 0.35 |  |" in text
    assert "| `flat_ratio` | 0.2 | ≤ 0.1 | missed |" in text
    assert "| `held_ratio` | not measured | ≥ 8 | missed |" in text
    assert "| ours | 98.7 | 3.0 / 4.0 | 1.0 / 2.0 | 0.50 | 0.50 | 0.50 | 200 |" in text
    assert "| theirs | not complete |" in text
    document([FINDING], path)
    assert path.read_text().count(BEGIN) == 1


def test_a_document_without_a_place_for_figures_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "performance.md"
    path.write_text("# Nothing\n")
    with pytest.raises(ValueError, match="no place"):
        document([FINDING], path)
    assert path.read_text() == "# Nothing\n"
