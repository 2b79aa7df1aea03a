"""The code in the documents is run as it stands there, from top to bottom, and prints what stands below it."""

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from chatter_grpc._gen.chatter.v1 import error_reason_pb2
from chatter_grpc.config import OF_CLIENTS, PREFIX, Settings
from tests.support.cookbook import missing_documents, missing_lines, run_blocks
from tests.support.documents import RUN, Fence, blocks_of, faults_of, read_fences
from tests.support.processes import ROOT, Process, environment, serving
from tools import fold_table
from tools.metrics_table import table, with_table

# Run by a test of its own, or made from what is tested.
ELSEWHERE = {"docs/grpcurl.md", "docs/api.md", "docs/configuration.md"}
FOLDERS = ("*.md", "docs/*.md", "docs/decisions/*.md", "deploy/*.md", "benchmarks/*.md", "clients/*/*.md")
NAMES = sorted({path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in ROOT.glob(folder)} - ELSEWHERE)
TEXTS = {name: (ROOT / name).read_text() for name in NAMES}
SECONDS = 60
# What it does to its server, or shows of it, would not hold among others.
ALONE = {"docs/operations.md"}


def fences_of(name: str) -> list[Fence]:
    return list(read_fences(TEXTS[name]))


RUNNING = [name for name in NAMES if any(fence.kind in RUN and not fence.why_not for fence in fences_of(name))]


@pytest.mark.parametrize("name", NAMES)
def test_every_block_is_run_or_says_why_not(name: str) -> None:
    assert not list(faults_of(fences_of(name)))


def test_those_that_show_how_to_operate_are_run() -> None:
    assert {"docs/operations.md", "docs/quickstart.md", "docs/concepts.md"} <= set(RUNNING)


@contextmanager
def served(directory: Path) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """Run a server, and yield the settings of what goes with it, and the variables that documents name it by."""
    data = str(directory / "data")
    with serving(directory, data_dir=data, metrics_listen="0", log_format="json") as (process, address):
        yield {"data_dir": data, "listen": address}, {"ADDRESS": address, "METRICS": metrics_of(process)}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """The server of all documents that bear others beside them."""
    with served(tmp_path_factory.mktemp("documents")) as server:
        yield server


@pytest.mark.parametrize("name", RUNNING)
def test_what_stands_in_a_document_works(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    directory = tmp_path / "here"
    directory.mkdir()
    fences = fences_of(name)
    blocks = blocks_of(fences, directory)
    path = os.pathsep.join([str(commands(tmp_path)), str(Path(sys.executable).parent), os.environ["PATH"]])
    (directory / ".venv").symlink_to(tmp_path / "commands")
    with ExitStack() as stack:
        settings, given = {"data_dir": str(tmp_path / "data")}, {}
        if needs_server(fences):
            own = name in ALONE
            settings, given = stack.enter_context(served(tmp_path)) if own else request.getfixturevalue("shared")
        outcomes = run_blocks(blocks, directory, {**environment(settings), **given, "PATH": path})
    for block, outcome in zip(blocks, outcomes, strict=True):
        told = f"{block.section}\n{block.commands}\n{outcome.out}\n{outcome.err}"
        assert outcome.code == 0, told
        missing = missing_documents if block.kind == "json" else missing_lines
        assert not missing(block.expected, outcome.out), told


def needs_server(fences: list[Fence]) -> bool:
    """Whether anything of a document is about a server."""
    return any("ADDRESS" in fence.content or fence.kind in {"sh", "bash"} for fence in fences)


def commands(directory: Path) -> Path:
    """Make a directory with the commands that documents call, one of which is found beside it as in `.venv/bin`."""
    folder = directory / "commands" / "bin"
    folder.mkdir(parents=True)
    for name, arguments in (("chatter-grpc", "-m chatter_grpc"), ("python3", ""), ("python", "")):
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


def metrics_of(process: Process) -> str:
    """Return where the server shows its metrics; it says so before it serves."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        for line in process.err.read_text().splitlines():
            if '"serving_metrics"' in line and line.endswith("}"):
                return str(json.loads(line)["address"])
        time.sleep(0.02)
    raise AssertionError("no metrics are served")


def test_the_table_of_metrics_is_current() -> None:
    """Make it anew with `make derive`."""
    page = TEXTS["docs/operations.md"]
    assert table() in page
    assert with_table(page) == page


# The changes name what is there no more, too.
@pytest.mark.parametrize("name", sorted(set(NAMES) - {"CHANGELOG.md"}))
def test_settings_that_are_named_exist(name: str) -> None:
    settings = {f"{PREFIX}{setting.upper()}" for setting in Settings.model_fields.keys() | OF_CLIENTS}
    # What ends in an underscore stands for several.
    named = {word for word in re.findall(r"\bCHATTER_[A-Z_]+", TEXTS[name]) if not word.endswith("_")}
    assert named <= settings


def test_reasons_that_are_explained_exist() -> None:
    rows = TEXTS["docs/operations.md"].partition("## When a call fails")[2].splitlines()
    explained = set(re.findall(r"`([A-Z_]+)`", " ".join(row.split("|")[1] for row in rows if row.startswith("| `"))))
    assert len(explained) > 15
    assert {f"ERROR_REASON_{reason}" for reason in explained} <= set(error_reason_pb2.ErrorReason.keys())


@pytest.mark.parametrize("name", NAMES)
def test_links_between_documents_lead_to_files(name: str) -> None:
    folder = (ROOT / name).parent
    targets = {
        link.partition("#")[0]
        for piece in TEXTS[name].split("](")[1:]
        if not (link := piece.partition(")")[0]).startswith(("http", "#", "mailto"))
    }
    assert not {target for target in targets if not (folder / target).exists()}


def test_the_fold_among_the_concepts_is_that_of_the_clients() -> None:
    (shown,) = [fence.content for fence in fences_of("docs/concepts.md") if fence.kind == "python"]
    names: dict[str, Any] = {}
    exec(shown.partition("\ndigest =")[0], names)
    cases = json.loads((ROOT / "clients" / "fold_cases.json").read_text())["cases"]
    for case in [case for case in cases if "fault" not in case]:
        finished = {message["id"]: message["text"] for message in case["messages"] if message["finished"]}
        assert names["fold"](case["frames"]) == finished, case["name"]


def test_the_table_of_the_folds_cases_is_current() -> None:
    """Make it anew with `make derive`."""
    assert fold_table.with_table(TEXTS["docs/clients.md"]) == TEXTS["docs/clients.md"]


def test_a_block_that_is_not_marked_would_be_found() -> None:
    text = "# A\n\n```\nmake\n```\n\n<!-- not run: needs x -->\n```sh\nmake\n```\n```text\nx\n```\n"
    fences = list(read_fences(text))
    assert len(list(faults_of(fences))) == 1
    assert [fence.why_not for fence in fences] == ["", "needs x", ""]
    assert blocks_of(fences, Path()) == []
