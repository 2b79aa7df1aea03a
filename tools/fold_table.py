"""Writes the table of the fold's cases into `docs/clients.md`: `python -m tools.fold_table`."""

import json
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = ROOT / "docs" / "clients.md"
CASES: Final = ROOT / "clients" / "fold_cases.json"
# Between these the table stands.
BEGIN, END = "a test compares it with the cases -->\n", "<!-- end of cases -->"


def table() -> str:
    """Return every case with its reason and what it amounts to, as a table in Markdown."""
    cases = json.loads(CASES.read_text())["cases"]
    rows = [f"| {case['name']} | {case['why']} | {outcome(case)} |" for case in cases]
    return "\n".join(("| Case | What is behind it | Messages afterwards |", "|---|---|---|", *rows)) + "\n"


def outcome(case: dict[str, Any]) -> str:
    """Return what a case amounts to in a few words."""
    if "fault" in case:
        return "**refused**"
    told = []
    for each in case["messages"]:
        text = f"`{each['text']}`" if each["text"] else "an empty text"
        told.append(text if each["finished"] else f"{text}, not final")
    return "; ".join(told) or "none"


def with_table(page: str) -> str:
    """Return the page with the table as it is now."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    return before + begin + table() + end + after


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
