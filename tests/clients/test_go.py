"""The client in Go, which `make test` builds where Go is, against a server process."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from chatter_client import Client
from chatter_client.contract import chat_service_pb2
from tests.support.client_accounts import LONG_QUESTION, PASSWORD, QUESTION, stored_texts
from tests.support.fold_cases import CASES
from tests.support.processes import ROOT, environment
from tests.support.served import Served
from tests.support.tcp_proxy import TcpProxy

BINARIES = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
PROGRAM = shutil.which("chatter-go", path=BINARIES)
FOLD_TEST = shutil.which("chatter-go-test", path=BINARIES)
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="chatter-go is not built: make goclient does, where Go is")


def started(server: str, question: str, **credentials: str) -> "subprocess.Popen[str]":
    command = [str(PROGRAM), "-server", server, question]
    given = {**environment({}), **credentials}
    return subprocess.Popen(command, env=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


async def only_answer(client: Client) -> str:
    """What the server has stored of the one answer of an account."""
    listed = await client.chat.ListConversations(chat_service_pb2.ListConversationsRequest())
    (conversation,) = listed.conversations
    (text,) = (await stored_texts(client, conversation.id)).values()
    return text


async def test_an_answer_is_printed_as_it_is_stored(server: Served, direct: Client, login: str) -> None:
    program = started(server.address, QUESTION, CHATTER_LOGIN=login, CHATTER_PASSWORD=PASSWORD)
    out, err = program.communicate(timeout=60)
    assert (program.returncode, err) == (0, "")
    assert out == f"{await only_answer(direct)}\n"


async def test_a_cut_is_read_over(proxy: TcpProxy, direct: Client, login: str) -> None:
    with started(proxy.address, LONG_QUESTION, CHATTER_LOGIN=login, CHATTER_PASSWORD=PASSWORD) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        begun = program.stdout.read(80)
        proxy.cut()
        out, err = program.stdout.read(), program.stderr.read()
    assert program.returncode == 0, err
    assert err.startswith("reading on: ")
    assert begun + out == f"{await only_answer(direct)}\n"


async def test_a_key_works_in_place_of_a_password(server: Served, login: str) -> None:
    key = await server.api_key(login, "chat:read", "chat:write", "runs:read")
    program = started(server.address, QUESTION, CHATTER_API_KEY=key)
    out, err = program.communicate(timeout=60)
    assert (program.returncode, err) == (0, "")
    assert "counted the waves" in out


def test_a_refusal_is_told(server: Served) -> None:
    program = started(server.address, QUESTION, CHATTER_LOGIN="nobody", CHATTER_PASSWORD="nothing at all")
    out, err = program.communicate(timeout=60)
    assert (program.returncode, out) == (1, "")
    assert "Unauthenticated" in err


def test_without_credentials_it_says_where_they_are_read(server: Served) -> None:
    program = started(server.address, QUESTION)
    out, err = program.communicate(timeout=60)
    assert (program.returncode, out) == (1, "")
    assert "CHATTER_API_KEY" in err
    assert "CHATTER_LOGIN" in err


def test_its_fold_makes_of_every_case_what_it_should() -> None:
    assert FOLD_TEST is not None
    folder = ROOT / "clients" / "go"
    done = subprocess.run([FOLD_TEST, "-test.v"], check=False, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("\n    --- PASS") == len(CASES)
