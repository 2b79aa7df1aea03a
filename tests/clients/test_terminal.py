"""`chatter chat` on a terminal and in a pipe, against a server process."""

import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chatter_client import Client
from chatter_client.terminal.commands import app
from chatter_client.terminal.screen import shown
from tests.support.client_accounts import LONG_QUESTION, PASSWORD, QUESTION, registration
from tests.support.processes import environment
from tests.support.pseudo_terminal import Terminal, on_terminal
from tests.support.served import Served
from tests.support.tcp_proxy import TcpProxy

PROGRAM = [sys.executable, "-c", "from chatter_client.terminal import main; main()"]
ASKED = QUESTION.replace("\n\n", " ")
LONG = LONG_QUESTION.replace("\n\n", " ")
CTRL_C, CTRL_D = b"\x03", b"\x04"
Start = Callable[..., AbstractContextManager[Terminal]]


@pytest.fixture
def surroundings(tmp_path: Path) -> dict[str, str]:
    """The variables of a person's shell, with a home of its own."""
    # Where this package is found is this process's knowledge.
    paths = os.pathsep.join(path for path in sys.path if path)
    return {
        **{name: value for name, value in environment({}).items() if name not in {"NO_COLOR", "COLUMNS"}},
        "PYTHONPATH": paths,
        "HOME": str(tmp_path),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "TERM": "xterm",
    }


@pytest.fixture
def start(surroundings: dict[str, str], tmp_path: Path) -> Start:
    """Starts `chatter` on a terminal."""
    return lambda *arguments, **more: on_terminal([*PROGRAM, *arguments], {**surroundings, **more}, tmp_path)


@pytest.fixture
def known(login: str) -> dict[str, str]:
    return {"CHATTER_LOGIN": login, "CHATTER_PASSWORD": PASSWORD}


def piped(text: str, server: str, surroundings: dict[str, str], **more: str) -> "subprocess.CompletedProcess[str]":
    command = [*PROGRAM, "chat", "--server", server]
    given = {**surroundings, **more}
    return subprocess.run(command, input=text, env=given, capture_output=True, text=True, timeout=60, check=False)


def test_a_person_registers_and_talks(start: Start, server: Served, tmp_path: Path) -> None:
    account = registration()
    with start("chat", "--server", server.address) as terminal:
        terminal.expect("register?")
        terminal.type("r")
        terminal.expect("Username:")
        terminal.type(account.username)
        terminal.expect("Email:")
        terminal.type(account.email)
        terminal.expect("Password:")
        terminal.type(PASSWORD)
        terminal.expect("> ")
        terminal.type(ASKED)
        terminal.expect("tokens in,")
        assert "counted the waves until the night came" in terminal.text
        terminal.expect("> ")
        terminal.press(CTRL_D)
        assert terminal.wait() == 0
    assert PASSWORD not in terminal.text
    kept = sorted((tmp_path / "state" / "chatter").iterdir())
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in kept)
    assert stat.S_IMODE((tmp_path / "state" / "chatter").stat().st_mode) == 0o700
    assert ASKED in (tmp_path / "state" / "chatter" / "history").read_text()
    assert not any(PASSWORD in path.read_text() for path in kept)

    with start("chat", "--server", server.address) as terminal:
        terminal.expect("> ")
        terminal.type("/list")
        terminal.expect(" 1 ")
        terminal.expect(ASKED[:40])
        terminal.type("/open 1")
        terminal.expect("counted the waves until the night came")
        terminal.type("/model")
        terminal.expect("* chatter/offline")
        terminal.type("/nonsense")
        terminal.expect("is no command")
        terminal.type("/open conv_that_is_not")
        terminal.expect("CONVERSATION_NOT_FOUND")
        terminal.type("/quit")
        assert terminal.wait() == 0

    with start("logout", "--server", server.address) as terminal:
        assert terminal.wait() == 0
    assert not list((tmp_path / "state" / "chatter").glob("session-*.json"))


def test_ctrl_c_cancels_the_answer_and_not_the_program(start: Start, server: Served, known: dict[str, str]) -> None:
    with start("chat", "--server", server.address, **known) as terminal:
        terminal.expect("> ")
        terminal.type(LONG)
        terminal.expect("quoted, not written")
        terminal.expect("wave 5,")
        terminal.press(CTRL_C)
        terminal.expect("Cancelled:")
        terminal.expect("tokens in,")
        terminal.expect("> ")
        terminal.insist(CTRL_C, "Ctrl-C again leaves.")
        terminal.expect("> ")
        terminal.insist(CTRL_C)
        assert terminal.wait() == 0
    assert "Traceback" not in terminal.text


def test_a_second_ctrl_c_leaves(start: Start, proxy: TcpProxy, known: dict[str, str]) -> None:
    with start("chat", "--server", proxy.address, **known) as terminal:
        terminal.expect("> ")
        terminal.type(LONG)
        terminal.expect("quoted, not written")
        terminal.expect("wave 5,")
        # The cancellation cannot arrive.
        proxy.refuse()
        terminal.press(CTRL_C)
        terminal.expect("cancelling")
        terminal.press(CTRL_C)
        assert terminal.wait() == 130
    assert "Traceback" not in terminal.text


def test_an_answer_goes_on_when_the_connection_is_back(start: Start, proxy: TcpProxy, known: dict[str, str]) -> None:
    with start("chat", "--server", proxy.address, **known) as terminal:
        terminal.expect("> ")
        terminal.type(LONG)
        terminal.expect("quoted, not written")
        terminal.expect("wave 5,")
        proxy.refuse()
        terminal.expect("the connection is gone")
        proxy.mend()
        terminal.expect("tokens in,")
    assert "wave 99, and slept." in terminal.text


async def test_what_is_piped_in_is_one_message(
    surroundings: dict[str, str], server: Served, known: dict[str, str]
) -> None:
    done = piped(QUESTION, server.address, surroundings, **known)
    assert done.returncode == 0, done.stderr
    assert "counted the waves until the night came" in done.stdout
    assert done.stderr == ""
    assert "\x1b" not in done.stdout


async def test_an_api_key_needs_no_session(
    surroundings: dict[str, str], server: Served, login: str, tmp_path: Path
) -> None:
    key = await server.api_key(login, "chat:read", "chat:write", "runs:read", "runs:write")
    done = piped(QUESTION, server.address, surroundings, CHATTER_API_KEY=key)
    assert done.returncode == 0, done.stderr
    assert "counted the waves" in done.stdout
    assert not list((tmp_path / "state").rglob("session-*.json"))


def test_whoever_leaves_while_being_asked_leaves_quietly(start: Start, server: Served) -> None:
    with start("login", "--server", server.address, CHATTER_API_KEY="not looked at") as terminal:
        terminal.expect("Username or email:")
        terminal.press(CTRL_D)
        assert terminal.wait() == 130
    assert "Traceback" not in terminal.text


def test_without_a_session_a_pipe_is_told_what_to_do(surroundings: dict[str, str], server: Served) -> None:
    done = piped("hi", server.address, surroundings)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("chatter: not logged in: use `chatter login`")


async def test_a_wrong_key_is_told(surroundings: dict[str, str], server: Served, anyone: Client) -> None:
    done = piped("hi", server.address, surroundings, CHATTER_API_KEY="chatter_wrong")
    assert done.returncode == 1
    assert re.match(r"chatter: (API_KEY_INVALID|TOKEN_INVALID): ", done.stderr)


def test_an_authority_for_an_unencrypted_connection_is_refused() -> None:
    done = CliRunner().invoke(app, ["chat", "--plaintext", "--ca", str(Path(__file__))])
    assert done.exit_code == 2
    assert "--plaintext / --ca" in done.stderr


@pytest.mark.parametrize("hostile", ["\x1b]0;title\x07", "\x9b31m", "\x1b[2J", "\r"])
def test_what_a_terminal_would_obey_is_shown_instead(hostile: str) -> None:
    text = shown(f"a{hostile}b\n\tc")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)
    assert text.endswith("b\n\tc")


def test_bytes_that_are_no_text_are_replaced(start: Start, server: Served, known: dict[str, str]) -> None:
    with start("chat", "--server", server.address, **known) as terminal:
        terminal.expect("> ")
        terminal.press(b"bad \xff bytes. What bytes?\r")
        terminal.expect("“bad \N{REPLACEMENT CHARACTER} bytes.”")
        terminal.expect("tokens in")
    assert "Traceback" not in terminal.text


@pytest.mark.parametrize(
    "more", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}]
)
async def test_another_encoding_costs_characters_and_not_the_answer(
    surroundings: dict[str, str], server: Served, known: dict[str, str], more: dict[str, str]
) -> None:
    done = piped("Foxes dig. What do foxes do?", server.address, surroundings, **known, **more)
    assert (done.returncode, done.stderr) == (0, "")
    assert "?Foxes dig.?" in done.stdout


async def test_a_home_that_cannot_be_written_is_told(
    start: Start, surroundings: dict[str, str], server: Served, known: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    nowhere = {"XDG_STATE_HOME": str(tmp_path / "file")}
    done = piped("hi", server.address, surroundings, **nowhere)
    assert done.returncode == 1
    assert re.fullmatch(r"chatter: .*Not a directory.*\n", done.stderr)
    # With other credentials it costs the history alone.
    with start("chat", "--server", server.address, **known, **nowhere) as terminal:
        terminal.expect("> ")
        terminal.type("/quit")
        assert terminal.wait() == 0
    assert "Traceback" not in terminal.text


def test_a_key_that_no_call_can_carry_is_told(surroundings: dict[str, str], server: Served) -> None:
    done = piped("hi", server.address, surroundings, CHATTER_API_KEY="key\n")
    assert done.returncode == 1
    assert done.stderr.startswith("chatter: CHATTER_API_KEY or CHATTER_SUBJECT: key: only printable ASCII")


def test_two_terminals_keep_the_lines_of_both(
    start: Start, server: Served, known: dict[str, str], tmp_path: Path
) -> None:
    with (
        start("chat", "--server", server.address, **known) as one,
        start("chat", "--server", server.address, **known) as other,
    ):
        for terminal, line in ((one, "/new one"), (other, "/new other")):
            terminal.expect("> ")
            terminal.type(line)
            terminal.expect("A new conversation.")
            terminal.expect("> ")
            terminal.type("/quit")
            assert terminal.wait() == 0
    lines = (tmp_path / "state" / "chatter" / "history").read_text().splitlines()
    assert lines == ["/new one", "/new other"]
