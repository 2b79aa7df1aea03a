"""The demonstration: it shows what it promises, its commands work when they are copied, and nothing stays behind."""

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from chatter_grpc.cli.demo.command import INTERRUPTED
from chatter_grpc.cli.demo.server import ServerFailed, run_server
from tests.support.processes import ROOT, SECONDS, Process, environment, run_command, running

ANSWER = "“The world will little note, nor long remember what we say here, but it can never forget what they did here.”"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A demonstration that has shown everything and left its server running."""

    process: Process
    printed: str
    scratch: Path


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    directory = tmp_path_factory.mktemp("kept")
    scratch = directory / "scratch"
    scratch.mkdir()
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TMPDIR", str(scratch))
        with running(directory, "demo", "--keep") as process:
            process.wait_for_line("The server stays at ")
            yield Kept(process=process, printed=process.out.read_text(), scratch=scratch)
            # Its server is a process of its own, which ends with it only if it is asked to.
            process.stop(signal.SIGINT)


def run_shown(kept: Kept, directory: Path) -> str:
    """Run the commands that were shown, in order and in one shell; return what they printed."""
    commands = re.findall(r"^   \$ (.*grpcurl .*)$", kept.printed, re.MULTILINE)
    assert len(commands) == 5
    bin_directory = directory / "bin"
    bin_directory.mkdir()
    beside_python = str(Path(sys.executable).parent)
    path = os.pathsep.join([str(bin_directory), beside_python, os.environ["PATH"]])
    if shutil.which("grpcurl", path=path) is None:
        stand_in = bin_directory / "grpcurl"
        stand_in.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT}/tests/support/buf_curl.py" "$@"\n')
        stand_in.chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", "\n".join(commands)],
        cwd=directory,
        env={**environment({}), "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    return done.stdout


def test_it_shows_every_step_and_every_check_holds(kept: Kept) -> None:
    steps = re.findall(r"^\d\. (\w+):", kept.printed, re.MULTILINE)
    assert steps == ["Register", "Login", "CreateConversation", "SendMessage", "WatchRun"]
    assert ANSWER in kept.printed
    assert kept.printed.count("   ok: ") == 3
    assert re.search(r"usage: +\d+ tokens in, \d+ out, 0\.000000 USD", kept.printed)
    assert re.search(r"run: +run_\w+\n +cursor: +\S+\n", kept.printed)
    assert "\x1b" not in kept.printed


def test_the_commands_that_it_shows_repeat_its_steps(kept: Kept, tmp_path: Path) -> None:
    printed = run_shown(kept, tmp_path)
    assert '"USERNAME_TAKEN"' in printed
    assert '"title": "Gettysburg"' in printed
    # The same request is the same run, and nothing new.
    runs = set(re.findall(r'"run_id": *"(\w+)"', printed))
    assert runs == set(re.findall(r"run: +(run_\w+)", kept.printed))
    assert printed.count('"completed"') == 2


def test_at_the_end_the_server_has_stopped_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    # A database that is not there, and a model that would cost money: no setting reaches the demonstration's server.
    done = run_command(
        tmp_path, "demo", database_url="postgresql://nobody@127.0.0.1:1/none", openai_api_key="planted", nonsense="1"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "make serve" in done.stdout
    assert not list(scratch.iterdir())
    address = re.search(r"It serves on (\S+)\.", done.stdout)
    assert address is not None
    assert run_command(tmp_path, "health", "--address", address[1]).returncode == 1


def test_ctrl_c_ends_it_its_server_and_its_data(kept: Kept) -> None:
    """The last test of this module that needs it."""
    address = kept.printed.rpartition("The server stays at ")[2].partition(";")[0]
    assert kept.process.stop(signal.SIGINT) == 0
    assert not list(kept.scratch.iterdir())
    assert run_command(kept.scratch, "health", "--address", address).returncode == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_at_work_it_leaves_nothing_behind(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    with running(tmp_path, "demo") as process:
        process.wait_for_line("Starting a server")
        assert process.stop(number) == INTERRUPTED
    assert not list(scratch.iterdir())
    assert process.err.read_text() == ""


def test_on_a_terminal_it_has_colours(tmp_path: Path) -> None:
    terminal, inside = pty.openpty()
    settings = {**environment({}), "TERM": "xterm", "TMPDIR": str(tmp_path)}
    del settings["NO_COLOR"]
    process = subprocess.Popen(
        [sys.executable, "-m", "chatter_grpc", "demo", "--question", "Who struggled here?"],
        cwd=tmp_path,
        env=settings,
        stdin=inside,
        stdout=inside,
        stderr=inside,
    )
    os.close(inside)
    printed = b""
    try:
        # Linux ends the reading of a terminal that nobody writes to any more with an error.
        while piece := os.read(terminal, 65536):
            printed += piece
    except OSError:
        pass
    finally:
        os.close(terminal)
        code = process.wait(SECONDS)
    assert code == 0, printed.decode()
    assert b"\x1b[" in printed
    assert "The brave men, living and dead, who struggled here" in re.sub(r"\x1b\[[0-9;]*m", "", printed.decode())


async def test_a_server_that_does_not_start_is_shown_with_its_log(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no directory")
    with pytest.raises(ServerFailed, match="ended with 1 instead of serving") as caught:
        async with run_server(tmp_path):
            pass
    assert f"chatter-grpc: {tmp_path}/data: Not a directory" in str(caught.value)
