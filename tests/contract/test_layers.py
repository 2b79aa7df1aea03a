"""Modules have one purpose and know their place (T22)."""

import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Final

import grimp
import pytest

pytestmark = pytest.mark.platform("T22")

ROOT: Final = Path(__file__).resolve().parents[2]
BESIDE_PYTHON: Final = Path(sys.executable).parent


def run(*command: str) -> "subprocess.CompletedProcess[str]":
    """Run a tool that is installed beside Python, on the repository."""
    program = str(BESIDE_PYTHON / command[0])
    return subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_no_layer_imports_what_it_may_not() -> None:
    """T22: the contracts in pyproject.toml, none of which is empty."""
    done = run("lint-imports")
    assert done.returncode == 0, done.stdout
    assert " 0 broken" in done.stdout
    assert "Contracts: 0 kept" not in done.stdout


def test_no_import_stands_within_a_function() -> None:
    """T22: but for what says why it does."""
    done = run("ruff", "check", "--select", "PLC0415", "--no-cache", "chatter_grpc")
    assert done.returncode == 0, done.stdout


def test_no_modules_import_one_another_in_a_circle() -> None:
    """T22: what a module needs can be read before it."""
    graph = grimp.build_graph("chatter_grpc", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(imports) > 100
    # Raises `CycleError`, which names the circle.
    order = tuple(TopologicalSorter(imports).static_order())
    assert order.index("chatter_grpc.core.errors") < order.index("chatter_grpc.app.serving")
