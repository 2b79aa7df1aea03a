"""Each promise of the platform is named by the tests that show it, or by what it has to wait for."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).resolve().parents[1]
ROWS: Final = frozenset(f"T{number}" for number in range(1, 23))

# Promises about what this version does not have, each with what it comes with.
LATER: Final = {
    "T12": "conditional edges and their conditions: with workflows",
    "T13": "calls of tools, their permissions and limits, and loops: with tools and workflows",
    "T15": "documents, their chunks and their deletion: with documents",
    "T16": "vectors, files and rows that must not be left over: with documents",
}


def named_by_tests(source: str) -> Iterator[str]:
    """The rows that the tests of a module name, one by one, in decorators and in ``pytestmark``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if node.name.lower().startswith("test"):
                yield from (row for decorator in node.decorator_list for row in marked(decorator))
        elif isinstance(node, ast.Assign) and [getattr(each, "id", "") for each in node.targets] == ["pytestmark"]:
            yield from marked(node.value)


def marked(expression: ast.expr) -> Iterator[str]:
    """The rows of the platform marks in an expression."""
    for node in ast.walk(expression):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.platform":
            yield from (str(ast.literal_eval(argument)) for argument in node.args)


def named() -> dict[str, set[str]]:
    """The rows that are named, each with the files that do."""
    found: dict[str, set[str]] = {}
    for file in sorted(TESTS.rglob("test_*.py")):
        for row in named_by_tests(file.read_text()):
            found.setdefault(row, set()).add(file.relative_to(TESTS).as_posix())
    return found


def test_every_promise_is_shown_by_a_test_or_waits_for_what_it_speaks_of() -> None:
    shown = named()
    assert shown.keys() <= ROWS, "a row that does not exist"
    assert not ROWS - shown.keys() - LATER.keys(), "neither shown nor said to come later"


def test_what_is_shown_on_the_surface_is_shown_over_the_wire() -> None:
    """The promises to whoever calls are shown by real servers that are called, and not by parts alone."""
    called = {row for row, files in named().items() if any(file.startswith("acceptance/") for file in files)}
    to_callers = {f"T{number}" for number in (1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 14, 17, 18, 19, 20, 21)}
    assert called >= to_callers


def test_nothing_that_is_to_come_later_is_claimed_by_a_server() -> None:
    called = {row for row, files in named().items() if any(file.startswith("acceptance/") for file in files)}
    assert not called & LATER.keys()
    assert all(re.search(r": with \w+", reason) for reason in LATER.values())


def test_marks_are_found_wherever_they_may_stand() -> None:
    source = """
pytestmark = [pytest.mark.slow, pytest.mark.platform("T1")]

@pytest.mark.platform("T2", "T3")
async def test_one() -> None: ...

class TestMany:
    @pytest.mark.platform("T4")
    def test_two(self) -> None: ...

@pytest.mark.platform("T5")
def helps() -> None: ...

# @pytest.mark.platform("T6")
"""
    assert set(named_by_tests(source)) == {"T1", "T2", "T3", "T4"}
