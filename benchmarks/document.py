"""Writes a whole run's figures into the document on performance, between two marks."""

from collections.abc import Sequence
from math import isnan
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.report import Finding, describe_machine

DOCUMENT: Final = Path(__file__).parent.parent / "docs" / "performance.md"
BEGIN: Final = "<!-- figures: written by `make bench` -->"
END: Final = "<!-- end of figures -->"


def document(findings: Sequence[Finding], path: Path = DOCUMENT) -> Path:
    """Replace what stands between the marks; the document's path. Raises ValueError where it has no marks."""
    text = path.read_text()
    before, began, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not began or not ended:
        raise ValueError(f"{path} has no place for figures")
    path.write_text(f"{before}{BEGIN}\n\n{render(findings)}\n\n{END}{after}")
    return path


def render(findings: Sequence[Finding]) -> str:
    """The machine, the bars, and a table of all sides for each benchmark that has several."""
    machine = describe_machine()
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    parts = [
        f"{machine['time'][:10]}, {machine['system']}, {machine['cores']} cores, Python {machine['python']}:",
        f"{versions}.",
        render_bars(findings),
    ]
    for finding in findings:
        if finding.name in ("flat", "paced", "burst") and "sides" in finding.figures:
            shape, plan = finding.figures["shape"], finding.figures["plan"]
            pace = f"at {plan['rate']:g} tokens/s" if plan["rate"] else "as fast as they come"
            title = f"*{finding.name}*: {shape['streams']} streams of {plan['tokens']} tokens, {pace}; medians."
            parts.append(f"{title}\n\n{render_sides(finding.figures)}")
    return "\n\n".join(parts)


def render_bars(findings: Sequence[Finding]) -> str:
    """A line for each bar."""
    lines = ["| Figure | Value | Bar | |", "|---|---|---|---|"]
    for bar in (bar for finding in findings for bar in finding.bars):
        value = "not measured" if isnan(bar.value) else f"{bar.value:.3g}"
        lines.append(
            f"| `{bar.name}` | {value} | {'≥' if bar.at_least else '≤'} {bar.limit:g} | {'' if bar.met else 'missed'} |"
        )
    return "\n".join(lines)


def render_sides(figures: dict[str, Any]) -> str:
    """A line for each side; 1.0 is a whole core."""
    lines = [
        "| Side | CPU µs per token | First token, p50 / p99 ms | Late, p50 / p99 ms | Cores: server | provider | load "
        "| MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for side, reports in figures["sides"].items():
        complete = [report for report in reports if report is not None]
        if not complete:
            lines.append(f"| {side} | not complete | | | | | | |")
            continue
        late = [report["late_ms"] for report in complete if report["late_ms"] is not None]
        cells = [
            side,
            f"{figures['cpu_us_per_token'][side]:.1f}",
            render_pair([report["first_token_ms"] for report in complete]),
            render_pair(late) if late else "",
            *(
                f"{median(report['effort']['cpu'][process] / report['effort']['wall'] for report in complete):.2f}"
                for process in ("server", "provider", "load")
            ),
            f"{figures['rss_mb'][side]:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def render_pair(pairs: Sequence[tuple[float, float]]) -> str:
    """The medians of p50 and of p99."""
    return f"{median(pair[0] for pair in pairs):.1f} / {median(pair[1] for pair in pairs):.1f}"
