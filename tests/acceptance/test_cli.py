"""The commands: what they print, how they exit, and one clear line for what an operator can put right."""

import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner, Result

from chatter_grpc import __version__
from chatter_grpc.cli import all_commands
from chatter_grpc.cli.commands import COMMANDS, load_command
from chatter_grpc.config import Settings
from chatter_grpc.rpc.contract import SERVICES, methods_of
from tests.support.processes import ROOT, environment, run_command

WRONG = 2
FAILED = 1

Invoke = Callable[..., Result]


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Invoke]:
    """Runs a command that comes to its end by itself in this process, which has everything loaded."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.upper().startswith("CHATTER_"):
            monkeypatch.delenv(name)
    root, own = logging.getLogger(), logging.getLogger("chatter_grpc")
    before = (root.handlers, root.level, own.level)

    def invoke(*arguments: str, **settings: str) -> Result:
        given = {f"CHATTER_{name.upper()}": value for name, value in settings.items()}
        done = CliRunner().invoke(all_commands(), arguments, env=given)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        return done

    yield invoke
    structlog.reset_defaults()
    root.handlers, root.level, own.level = before


def test_the_version_is_shown(tmp_path: Path) -> None:
    done = run_command(tmp_path, "--version")
    assert (done.returncode, done.stdout) == (0, f"chatter-grpc {__version__}\n")


def test_the_help_lists_every_command(tmp_path: Path) -> None:
    done = run_command(tmp_path, "--help")
    assert done.returncode == 0
    assert not [name for name, entry in COMMANDS.items() if name not in done.stdout or entry.summary not in done.stdout]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_loads_and_says_what_it_does(name: str) -> None:
    assert (load_command(name).help or "").strip()


def test_the_help_loads_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    heavy = ["langgraph", "langchain_core", "sqlalchemy", "grpc", "aiohttp", "pydantic"]
    script = f"""
import runpy, sys
sys.argv = ["chatter-grpc", "--help"]
try:
    runpy.run_module("chatter_grpc", run_name="__main__")
finally:
    sys.stderr.write(repr([name for name in {heavy} if name in sys.modules]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment({}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == "[]"


def test_a_command_that_is_none_is_refused(tmp_path: Path) -> None:
    done = run_command(tmp_path, "sreve")
    assert done.returncode == WRONG
    assert "serve" in done.stderr


@pytest.mark.parametrize("command", ["serve", "migrate", "health", "config"])
def test_a_variable_that_is_no_setting_stops_every_command(command: str, invoke: Invoke) -> None:
    done = invoke(command, run_second="1")
    assert done.exit_code == WRONG
    assert done.stderr == "chatter-grpc: CHATTER_RUN_SECOND is no setting; did you mean CHATTER_RUN_SECONDS?\n"
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("listen", "127.0.0.1:65536"),
        ("run_seconds", "soon"),
        ("database_url", "mysql://user:planted@host/name"),
        ("default_model", "openai/gpt-0"),
        ("models_file", "missing.json"),
        ("fallbacks", '{"openai/gpt-0": ["chatter/offline"]}'),
        ("fallbacks", '{"chatter/offline": ["openai/gpt-0"]}'),
        ("fallbacks", '{"chatter/offline": ["chatter/offline"]}'),
        ("endpoints", '{"local": {"base_url": "http://user:planted@host/v1", "models": ["m"]}}'),
    ],
)
def test_a_bad_setting_is_one_line_with_its_name(name: str, value: str, invoke: Invoke) -> None:
    settings = {"listen": "127.0.0.1:0", name: value}
    done = invoke("serve", **settings)
    assert done.exit_code == WRONG
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert f"CHATTER_{name.upper()}" in done.stderr
    assert "planted" not in done.stderr


@pytest.mark.platform("T5")
@pytest.mark.parametrize("secret", [None, "short", "changeme" * 5, "a" * 64])
def test_no_server_starts_outside_embedded_mode_without_a_good_secret(secret: str | None, invoke: Invoke) -> None:
    """T5."""
    settings = {"database_url": "sqlite:///chatter.db", "listen": "127.0.0.1:0"}
    assert invoke("migrate", **settings).exit_code == 0
    if secret is not None:
        settings["secret"] = secret
    done = invoke("serve", **settings)
    assert done.exit_code == WRONG
    assert done.stderr.startswith("chatter-grpc: CHATTER_SECRET ")
    assert len(done.stderr.splitlines()) == 1
    assert secret is None or secret not in done.stderr


def test_an_address_in_use_is_said(invoke: Invoke) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = invoke("serve", listen=address)
    assert done.exit_code == FAILED
    assert done.stderr == f"chatter-grpc: cannot listen on {address}: address already in use\n"


def test_a_database_that_is_not_there_is_said(invoke: Invoke) -> None:
    with socket.socket() as refusing:
        # Bound and not listening: nobody else gets the port, and whoever calls is refused.
        refusing.bind(("127.0.0.1", 0))
        url = f"postgresql://nobody:planted@127.0.0.1:{refusing.getsockname()[1]}/chatter"
        for command in ("serve", "migrate"):
            done = invoke(command, database_url=url, secret="x1y2z3" * 10 + "0123456789abcdef")
            assert done.exit_code == FAILED
            assert done.stderr.startswith("chatter-grpc: the database (CHATTER_DATABASE_URL) cannot be reached")
            assert len(done.stderr.splitlines()) == 1
            assert "planted" not in done.stderr


def test_a_data_directory_that_cannot_be_is_said(invoke: Invoke) -> None:
    Path("file").write_text("")
    done = invoke("serve", "--data-dir", "file")
    assert done.exit_code == FAILED
    assert done.stderr == f"chatter-grpc: {Path('file').absolute()}: Not a directory\n"


def test_migrating_shows_its_steps_and_then_that_nothing_is_left(invoke: Invoke) -> None:
    settings = {"database_url": "sqlite:///chatter.db"}
    first = invoke("migrate", **settings)
    assert first.exit_code == 0
    assert first.stdout.startswith("From an empty database to revision ")
    assert "Running upgrade" in first.stdout
    second = invoke("migrate", **settings)
    assert second.exit_code == 0
    assert second.stdout.startswith("Already current: ")
    assert first.stderr == second.stderr == ""


def test_a_database_behind_its_server_is_said(invoke: Invoke) -> None:
    done = invoke("serve", database_url="sqlite:///chatter.db", secret="0123456789abcdef" * 4)
    assert done.exit_code == WRONG
    assert done.stderr.startswith("chatter-grpc: ")
    assert "chatter-grpc migrate" in done.stderr


def test_the_policy_of_every_method_is_shown(tmp_path: Path) -> None:
    table = run_command(tmp_path, "policy")
    assert table.returncode == 0
    lines = table.stdout.splitlines()[1:]
    names = [name for name, _ in methods_of(SERVICES)]
    assert [line.split()[0] for line in lines] == [name.rpartition(".")[2] for name in names]
    sending = next(line for line in lines if "/SendMessage" in line)
    assert sending.split() == ["ChatService/SendMessage", "stream", "scoped", "chat:write", "start", "1", "idempotent"]


def test_the_policy_is_there_for_programs(tmp_path: Path) -> None:
    rows = json.loads(run_command(tmp_path, "policy", "--json").stdout)
    assert [row["method"] for row in rows] == [name for name, _ in methods_of(SERVICES)]
    (sending,) = [row for row in rows if row["method"] == "/chatter.v1.ChatService/SendMessage"]
    assert sending == {
        "method": "/chatter.v1.ChatService/SendMessage",
        "access": "scoped",
        "scope": "chat:write",
        "rate_class": "start",
        "cost": 1,
        "idempotency_level": "idempotent",
        "server_streaming": True,
    }


def test_the_service_config_of_clients_is_made_from_the_contract(invoke: Invoke) -> None:
    printed = invoke("policy", "--service-config").stdout
    assert printed == (ROOT / "clients" / "service_config.json").read_text()


def test_the_settings_are_shown_with_their_sources_and_without_secrets(tmp_path: Path) -> None:
    given = {
        "secret": "planted-secret",
        "openai_base_url": "https://ada:planted@models.example.org/v1?key=planted",
        "database_url": "postgresql://user:planted@host/name",
        "openai_api_key": "planted-key",
        "endpoints": '{"local": {"base_url": "http://:planted@h/v1", "models": ["m"], "api_key": "planted"}}',
        "run_seconds": "12",
    }
    text = run_command(tmp_path, "config", **given)
    document = run_command(tmp_path, "config", "--json", **given)
    assert text.returncode == document.returncode == 0
    assert "planted" not in text.stdout + document.stdout
    assert "CHATTER_RUN_SECONDS=12.0  (environment)" in text.stdout
    rows = {row["name"]: row for row in json.loads(document.stdout)}
    assert list(rows) == [f"CHATTER_{name.upper()}" for name in Settings.model_fields]
    assert rows["CHATTER_RUN_SECONDS"]["value"] == 12.0
    assert {name for name, row in rows.items() if row["source"] == "environment"} == {
        f"CHATTER_{name.upper()}" for name in given
    }
    assert not [name for name, row in rows.items() if not row["meaning"]]


def test_a_default_is_shown_as_one(tmp_path: Path) -> None:
    assert "CHATTER_LISTEN=127.0.0.1:50051  (default)" in run_command(tmp_path, "config").stdout


def test_what_follows_from_another_setting_is_shown_with_what_is_in_effect(tmp_path: Path) -> None:
    rows = json.loads(run_command(tmp_path, "config", "--json", data_dir="/srv/chatter").stdout)
    found = {row["name"]: (row["value"], row["source"], row["in_effect"]) for row in rows}
    assert found["CHATTER_DATABASE_URL"] == (None, "derived", "sqlite:////srv/chatter/chatter.db")
    assert found["CHATTER_SECRET"] == (None, "derived", "the content of /srv/chatter/secret")
    text = run_command(tmp_path, "config", data_dir="/srv/chatter").stdout
    assert "CHATTER_DATABASE_URL=  (derived: sqlite:////srv/chatter/chatter.db)" in text
    url = "postgresql://chatter:planted@db.example.org/chatter"
    elsewhere = json.loads(run_command(tmp_path, "config", "--json", database_url=url).stdout)
    assert {row["source"] for row in elsewhere if row["name"] == "CHATTER_SECRET"} == {"default"}
    assert "planted" not in json.dumps(elsewhere)


def test_the_configuration_reference_is_current(tmp_path: Path) -> None:
    """Make it anew with `chatter-grpc config --markdown > docs/configuration.md`."""
    # It tells of no machine: what is set here has no place in it.
    done = run_command(tmp_path, "config", "--markdown", run_seconds="12")
    assert done.stdout == (ROOT / "docs" / "configuration.md").read_text()


def test_a_server_that_is_not_there_is_not_healthy(tmp_path: Path) -> None:
    with socket.socket() as refusing:
        refusing.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{refusing.getsockname()[1]}"
        done = run_command(tmp_path, "health", "--address", address)
    assert done.returncode == FAILED
    assert done.stderr.startswith(f"chatter-grpc: {address} answers UNAVAILABLE")
    assert len(done.stderr.splitlines()) == 1


def test_no_command_offers_to_change_the_shell(tmp_path: Path) -> None:
    for arguments in ([], ["admin"]):
        assert "completion" not in run_command(tmp_path, *arguments, "--help").stdout
