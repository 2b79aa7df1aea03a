"""Writes the table of metrics into `docs/operations.md`: `python -m tools.metrics_table`."""

from pathlib import Path
from typing import Final

from chatter_grpc.adapters.metrics.registry import Metrics, make_metrics

OWN: Final = "chatter_"
PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "operations.md"
# Between these the table stands.
BEGIN, END = "a test compares the two -->\n", "<!-- end of metrics -->"


def table() -> str:
    """Return every metric of Chatter's own with its labels and its meaning, as a table in Markdown."""
    made = make_metrics()
    lines = ["| Metric | Kind | Labels | Meaning |", "|---|---|---|---|"]
    for metric in made.described():
        if metric.name.startswith(OWN):
            # Prometheus knows a counter by this ending.
            name = f"{metric.name}_total" if metric.type == "counter" else metric.name
            labels = ", ".join(f"`{label}`" for label in labels_of(made).get(metric.name, ()))
            lines.append(f"| `{name}` | {metric.type} | {labels} | {metric.documentation} |")
    return "\n".join(lines) + "\n"


def labels_of(metrics: Metrics) -> dict[str, tuple[str, ...]]:
    """Return the labels of each metric by its name."""
    made = [getattr(metrics, name) for name in metrics.__slots__ if name != "registry"]
    return {each._name: each._labelnames for each in made}  # noqa: SLF001 - the library tells it nowhere else


def with_table(page: str) -> str:
    """Return the page with the table as it is now."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    return before + begin + table() + end + after


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
