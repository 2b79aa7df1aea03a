"""Draws what the benchmarks on streams found: a picture for the documents."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from benchmarks.report import Finding
from benchmarks.sides import OURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PICTURE: Final = Path(__file__).parent.parent / "docs" / "performance.svg"
OUR_COLOUR: Final = "#1b7f5c"
THEIR_COLOUR: Final = "#9aa5ad"


def draw(findings: Sequence[Finding], path: Path = PICTURE) -> Path:
    """Draw what was measured, a panel for each of three figures, and leave out what was not; the picture's path."""
    # Installed for the benchmarks alone, while the tests import this module too.
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figures = {finding.name: finding.figures for finding in findings}
    panels = [
        ("CPU µs per token, 64 streams at 50/s", figures.get("paced", {}).get("cpu_us_per_token", {})),
        ("Lateness p99 in ms, the same", list_late(figures.get("paced", {}))),
        (
            "Streams held at 50 tokens/s",
            {side: median(n) for side, n in figures.get("held", {}).get("held", {}).items()},
        ),
    ]
    figure = Figure(figsize=(10, 2.8), layout="constrained")
    for axes, (title, values) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        draw_panel(axes, title, values)
    # The same figures make the same file.
    with mpl.rc_context({"svg.hashsalt": "chatter", "svg.fonttype": "none", "font.size": 8}):
        figure.savefig(path, format="svg", metadata={"Date": None})
    return path


def list_late(paced: dict[str, Any]) -> dict[str, float]:
    """The median over the repetitions of each side's p99."""
    late = {
        side: [report["late_ms"][1] for report in reports if report and report["late_ms"]]
        for side, reports in paced.get("sides", {}).items()
    }
    return {side: median(values) for side, values in late.items() if values}


def draw_panel(axes: "Axes", title: str, values: dict[str, float]) -> None:
    """A bar for each side, with its value behind it."""
    sides = list(values)[::-1]
    colours = [OUR_COLOUR if side == OURS else THEIR_COLOUR for side in sides]
    bars = axes.barh(sides, [values[side] for side in sides], color=colours)
    axes.bar_label(bars, fmt="{:,.0f}", padding=3)
    axes.set_title(title, loc="left")
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.set_xticks([])
    axes.margins(x=0.15)
