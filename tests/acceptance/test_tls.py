"""A server encrypts its connections, asks clients for certificates, and takes a new one while it serves."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub

from tests.support.certificates import DAY, NOW, Pair, issue
from tests.support.processes import Process, run_command, serving

SECONDS = 30
CA = issue("authority")
CLIENT = issue("client", issuer=CA)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    process: Process
    address: str
    settings: dict[str, str]
    directory: Path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that asks for client certificates."""
    directory = tmp_path_factory.mktemp("tls")
    cert, key = issue("chat.example.org", issuer=CA).write(directory, "server")
    client_ca = directory / "clients.pem"
    client_ca.write_bytes(CA.cert_pem)
    settings = {
        "data_dir": str(directory / "data"),
        "tls_cert_file": str(cert),
        "tls_key_file": str(key),
        "tls_client_ca_file": str(client_ca),
        "log_format": "json",
    }
    with serving(directory, **settings) as (process, address):
        yield Server(process=process, address=address, settings=settings, directory=directory)


def call(address: str, name: str, client: Pair | None = CLIENT) -> grpc.StatusCode:
    """Ask a server for its health, over a connection of its own; return the status."""
    key, chain = (None, None) if client is None else (client.key_pem(), client.cert_pem)
    credentials = grpc.ssl_channel_credentials(CA.cert_pem, key, chain)
    options = (("grpc.ssl_target_name_override", name), ("grpc.use_local_subchannel_pool", 1))
    with grpc.secure_channel(address, credentials, options=options) as channel:
        try:
            HealthStub(channel).Check(HealthCheckRequest(), timeout=SECONDS)
        except grpc.RpcError as error:
            return cast("grpc.Call", error).code()
    return grpc.StatusCode.OK


def test_a_client_that_an_authority_vouches_for_is_served(server: Server) -> None:
    assert call(server.address, "chat.example.org") is grpc.StatusCode.OK


def test_a_client_without_a_certificate_is_refused(server: Server) -> None:
    assert call(server.address, "chat.example.org", client=None) is grpc.StatusCode.UNAVAILABLE


def test_a_client_of_another_authority_is_refused(server: Server) -> None:
    stranger = issue("client", issuer=issue("another authority"))
    assert call(server.address, "chat.example.org", client=stranger) is grpc.StatusCode.UNAVAILABLE


def test_plain_text_is_refused(server: Server, tmp_path: Path) -> None:
    done = run_command(tmp_path, "health", "--address", server.address)
    assert done.returncode == 1
    assert "answers UNAVAILABLE" in done.stderr


def test_health_asks_with_the_servers_own_settings(server: Server, tmp_path: Path) -> None:
    """As in a container, where command and server have the same environment."""
    done = run_command(tmp_path, "health", "--address", server.address, **server.settings)
    assert (done.returncode, done.stdout) == (0, "SERVING\n")


def test_a_new_certificate_is_shown_without_a_restart(server: Server, tmp_path: Path) -> None:
    cert, key = CLIENT.write(tmp_path, "client")
    asked = ("--address", server.address, "--ca", str(server.directory / "clients.pem"))
    shown = ("--cert", str(cert), "--key", str(key))
    done = run_command(tmp_path, "health", *asked, *shown)
    # It is for chat.example.org and not for this address.
    assert (done.returncode, done.stdout) == (1, "")
    issue("renewed.example.org", "127.0.0.1", issuer=CA).write(server.directory, "server")
    wait_for_event(server.process, "certificate_replaced")
    assert call(server.address, "renewed.example.org") is grpc.StatusCode.OK
    assert run_command(tmp_path, "health", *asked, *shown).stdout == "SERVING\n"
    assert run_command(tmp_path, "health", *asked).returncode == 1


def test_an_expired_certificate_is_a_warning(tmp_path: Path) -> None:
    expired = issue("chat.example.org", issuer=CA, begins_at=NOW - 2 * DAY, ends_at=NOW - DAY)
    cert, key = expired.write(tmp_path, "server")
    settings = {"tls_cert_file": str(cert), "tls_key_file": str(key), "log_format": "json"}
    with serving(tmp_path, data_dir=str(tmp_path / "data"), **settings) as (process, _):
        wait_for_event(process, "certificate_expired")


def wait_for_event(process: Process, wanted: str) -> None:
    deadline = time.monotonic() + SECONDS
    while wanted not in process.err.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
