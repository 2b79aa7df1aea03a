"""A server process: its first start, what keeps a second one away, its health, its log and its stop."""

import asyncio
import json
import signal
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from chatter_grpc._gen.chatter.v1.auth_service_pb2 import LoginRequest, RegisterRequest
from chatter_grpc._gen.chatter.v1.auth_service_pb2_grpc import AuthServiceStub
from chatter_grpc._gen.chatter.v1.chat_service_pb2 import CreateConversationRequest, SendMessageRequest
from chatter_grpc._gen.chatter.v1.chat_service_pb2_grpc import ChatServiceStub
from chatter_grpc._gen.chatter.v1.content_pb2 import ContentPart, TextPart
from tests.support.processes import Process, run_command, running, serving

SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    process: Process
    address: str
    data: Path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("server")
    with serving(directory, data_dir=str(directory / "data")) as (process, address):
        yield Server(process=process, address=address, data=directory / "data")


def test_the_first_start_says_how_to_make_an_account_and_where_data_lives(server: Server) -> None:
    printed = server.process.out.read_text()
    assert str(server.data) in printed
    assert f"{server.address} chatter.v1.AuthService/Register" in printed
    assert f"CHATTER_DATA_DIR={server.data} chatter-grpc admin create-admin" in printed


def test_the_data_directory_is_for_its_owner_alone(server: Server) -> None:
    assert stat.S_IMODE(server.data.stat().st_mode) == 0o700
    assert stat.S_IMODE((server.data / "secret").stat().st_mode) == 0o600


def test_a_second_server_on_the_same_data_is_refused(server: Server, tmp_path: Path) -> None:
    done = run_command(tmp_path, "serve", "--listen", "127.0.0.1:0", "--data-dir", str(server.data))
    assert done.returncode == 1
    pid = server.process.process.pid
    expected = f"{server.data} is in use by another server (process {pid}). Stop it, or set CHATTER_DATA_DIR."
    assert done.stderr == f"chatter-grpc: {expected}\n"


@pytest.mark.parametrize("service", ["", "chatter.v1.ChatService", "chatter.v1.RunService"])
def test_it_is_healthy(service: str, server: Server, tmp_path: Path) -> None:
    done = run_command(tmp_path, "health", "--address", server.address, "--service", service)
    assert (done.returncode, done.stdout) == (0, "SERVING\n")


def test_the_health_of_a_service_that_is_not_there_is_a_failure(server: Server, tmp_path: Path) -> None:
    done = run_command(tmp_path, "health", "--address", server.address, "--service", "chatter.v1.NoService")
    assert done.returncode == 1
    assert done.stderr == f"chatter-grpc: {server.address} answers NOT_FOUND: chatter.v1.NoService\n"


def test_health_asks_where_the_settings_say_that_it_listens(server: Server, tmp_path: Path) -> None:
    everywhere = f"0.0.0.0:{server.address.rpartition(':')[2]}"
    assert run_command(tmp_path, "health", listen=everywhere).returncode == 0


def test_accounts_are_administered_while_it_serves(server: Server, tmp_path: Path) -> None:
    done = run_command(tmp_path, "admin", "create-service", "shop", data_dir=str(server.data))
    assert done.returncode == 0
    key = run_command(
        tmp_path, "admin", "create-key", "shop", "--name", "web", "--scope", "act_as", data_dir=str(server.data)
    )
    assert key.returncode == 0
    assert len(key.stdout.split()) == 1


def test_it_stops_gracefully_and_starts_again_without_a_welcome(tmp_path: Path) -> None:
    for start in ("first", "second"):
        with serving(tmp_path, data_dir=str(tmp_path / "data"), log_format="json") as (process, address):
            printed = process.out.read_text()
            assert process.stop() == 0
        assert ("To make an account" in printed) == (start == "first")
        events = [json.loads(line) for line in process.err.read_text().splitlines()]
        assert [event["event"] for event in events] == ["serving", "stopping", "stopped"]
        assert events[0]["address"] == address


def test_it_listens_on_a_unix_socket(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/socket"
    with running(tmp_path, "serve", "--listen", address, "--data-dir", str(tmp_path / "data")) as process:
        assert process.wait_for_line(" serves on ").split()[-1] == address
        assert run_command(tmp_path, "health", "--address", address).stdout == "SERVING\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_it_at_once(number: signal.Signals, tmp_path: Path) -> None:
    """The first lets its runs come to their end; this one has minutes to go."""
    slow = {"offline_token_milliseconds": "1000", "stop_seconds": "600"}
    with serving(tmp_path, data_dir=str(tmp_path / "data"), log_format="json", **slow) as (process, address):
        async with grpc.aio.insecure_channel(address) as channel:
            stream = await start_answer(channel)
            await stream.read()
            process.process.send_signal(number)
            await asyncio.to_thread(wait_for_event, process, "stopping")
            assert process.process.poll() is None
            code = await asyncio.to_thread(process.stop, number)
            stream.cancel()
    assert code == -number


async def start_answer(channel: grpc.aio.Channel) -> grpc.aio.UnaryStreamCall:  # type: ignore[type-arg]
    """Start an answer of some twenty words."""
    auth, chat = AuthServiceStub(channel), ChatServiceStub(channel)
    account = {"password": "correct horse battery"}
    await auth.Register(RegisterRequest(username="ada", email="ada@example.org", **account), timeout=SECONDS)
    session = await auth.Login(LoginRequest(login="ada", **account), timeout=SECONDS)
    metadata = (("authorization", f"Bearer {session.tokens.access_token}"),)
    made = await chat.CreateConversation(CreateConversationRequest(), metadata=metadata, timeout=SECONDS)
    part = ContentPart(text=TextPart(text="The garden is green. What colour is the garden?"))
    request = SendMessageRequest(request_id="1", conversation_id=made.conversation.id, parts=[part])
    return chat.SendMessage(request, metadata=metadata, timeout=600)


def wait_for_event(process: Process, wanted: str) -> None:
    deadline = time.monotonic() + SECONDS
    while wanted not in [json.loads(line)["event"] for line in process.err.read_text().splitlines()]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
