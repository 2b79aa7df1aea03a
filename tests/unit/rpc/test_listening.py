"""Where a server cannot listen, it says what the operating system says."""

import socket
from pathlib import Path

import grpc
import pytest

from chatter_grpc.rpc.faults import AddressRefused
from chatter_grpc.rpc.listening import listen, reason


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "[::1]")])
def test_an_address_in_use_is_named(family: socket.AddressFamily, host: str) -> None:
    with socket.socket(family) as taken:
        taken.bind((host.strip("[]"), 0))
        taken.listen()
        assert reason(f"{host}:{taken.getsockname()[1]}") == "address already in use"


def test_an_address_of_another_machine_is_named() -> None:
    assert reason("192.0.2.1:80") == "cannot assign requested address"


def test_what_the_operating_system_would_take_is_grpcs_refusal() -> None:
    assert reason("127.0.0.1:0") == "gRPC refuses it"


async def test_a_socket_in_no_directory_is_refused(tmp_path: Path) -> None:
    server = grpc.aio.server()
    with pytest.raises(AddressRefused, match=r"/missing/socket: its directory is missing"):
        listen(server, f"unix:{tmp_path}/missing/socket", None)


async def test_a_free_port_is_told() -> None:
    server = grpc.aio.server()
    port = listen(server, "127.0.0.1:0", None)
    assert 0 < port < 65_536
    await server.stop(None)
