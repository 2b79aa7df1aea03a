"""What a server says as it starts names its own command as it can be called."""

import sys
from pathlib import Path

import pytest

from chatter_grpc.cli.announcement import announce, own_command, read_announcement


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "bin" / "chatter-grpc"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_a_program_on_the_path_goes_by_its_name(monkeypatch: pytest.MonkeyPatch, program: Path) -> None:
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setattr(sys, "argv", [str(program), "serve"])
    assert own_command() == "chatter-grpc"


def test_a_program_beside_the_path_goes_by_its_place(monkeypatch: pytest.MonkeyPatch, program: Path) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "argv", [str(program), "serve"])
    monkeypatch.chdir(program.parents[1])
    assert own_command() == "bin/chatter-grpc"
    monkeypatch.chdir("/")
    assert own_command() == str(program).removeprefix("/")


def test_another_one_of_that_name_on_the_path_is_not_meant(
    monkeypatch: pytest.MonkeyPatch, program: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other" / "chatter-grpc"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(other.parent))
    monkeypatch.setattr(sys, "argv", [str(program)])
    monkeypatch.chdir(other.parent)
    assert own_command() == str(program)


def test_what_is_announced_can_be_read() -> None:
    assert read_announcement(announce("127.0.0.1:50051") + "\n") == "127.0.0.1:50051"
    assert read_announcement("Something else") is None
