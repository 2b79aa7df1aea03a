"""The cookbook does what it says: its commands are run in order, and print what stands below them."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cookbook import Block, Outcome, matches, missing_documents, missing_lines, read_blocks, run_blocks
from tests.support.processes import ROOT, environment, serving

BLOCKS = read_blocks((ROOT / "docs" / "grpcurl.md").read_text())
NAMES = [f"{number}-{block.section.replace(' ', '-')}" for number, block in enumerate(BLOCKS)]
BESIDE_PYTHON = str(Path(sys.executable).parent)

Outcomes = list[Outcome]


@pytest.fixture(scope="module", params=["grpcurl", "buf"])
def client(request: pytest.FixtureRequest) -> str:
    """The program that the commands call grpcurl: itself, or `buf curl` in its place."""
    client: str = request.param
    if client == "grpcurl" and shutil.which("grpcurl", path=f"{BESIDE_PYTHON}{os.pathsep}{os.environ['PATH']}") is None:
        pytest.skip("grpcurl is not installed")
    return client


@pytest.fixture(scope="module")
def outcomes(client: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    """What each block did, on a server of its own."""
    directory = tmp_path_factory.mktemp(client)
    commands = directory / "commands"
    commands.mkdir()
    write_command(commands / "chatter-grpc", "-m chatter_grpc")
    if client == "buf":
        write_command(commands / "grpcurl", str(ROOT / "tests" / "support" / "buf_curl.py"))
    data = str(directory / "data")
    with serving(directory, data_dir=data) as (_, address):
        shell = environment({"data_dir": data})
        path = os.pathsep.join([str(commands), BESIDE_PYTHON, shell["PATH"]])
        yield run_blocks(BLOCKS, directory, {**shell, "PATH": path, "ADDRESS": address})


def write_command(file: Path, arguments: str) -> None:
    file.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
    file.chmod(0o755)


def test_the_cookbook_has_its_blocks() -> None:
    sections = {block.section for block in BLOCKS}
    assert {"Look around", "Send a message and watch the answer", "Cancel", "An error with its details"} <= sections
    assert sum(1 for block in BLOCKS if block.kind == "json") >= 10


@pytest.mark.parametrize("number", range(len(BLOCKS)), ids=NAMES)
def test_a_block_prints_what_stands_below_it(number: int, client: str, outcomes: Outcomes) -> None:
    block, outcome = BLOCKS[number], outcomes[number]
    if client == "buf" and " describe " in block.commands:
        pytest.skip("buf curl has no describe")
    told = f"{block.commands}\n{outcome.out}\n{outcome.err}"
    if block.kind == "json":
        assert not missing_documents(block.expected, outcome.out), told
    else:
        assert not missing_lines(block.expected, outcome.out + outcome.err), told


@pytest.mark.parametrize("number", range(len(BLOCKS)), ids=NAMES)
def test_a_block_fails_only_where_it_shows_an_error(number: int, client: str, outcomes: Outcomes) -> None:
    block, outcome = BLOCKS[number], outcomes[number]
    if client == "buf" and " describe " in block.commands:
        pytest.skip("buf curl has no describe")
    shows_error = block.expected.startswith("ERROR:")
    assert (outcome.code != 0) == shows_error, outcome.err
    assert shows_error or "ERROR" not in outcome.err


def test_the_comparison_would_notice_a_difference() -> None:
    assert matches({"a": "…", "b": ["…", 2]}, {"a": {"c": 1}, "b": [0, 1, 2]})
    assert not matches({"a": "…"}, {"a": 1, "b": 2})
    assert not matches({"a": "1"}, {"a": 1})
    assert not matches(["…", {"a": "x…"}], [{"a": "y1"}])
    assert not matches([1], [1, 2])
    assert missing_documents('{"a": 1} {"a": 2}', '{"a": 2}\n{"a": 1}') == [{"a": 2}]
    assert missing_lines("one\nthr…\nfour", "one\n two\nthree") == ["four"]
    assert read_blocks("## A\n```bash\nx\n```\n```json\n{}\n```\n") == [
        Block(section="A", commands="x\n", kind="json", expected="{}\n")
    ]
