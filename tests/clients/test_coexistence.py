"""The client and the server in one process, from the same contract."""

import subprocess
import sys

import chatter_client.contract as client
from chatter_client.connection import service_config
from chatter_grpc._gen.chatter.v1 import run_event_pb2 as server_run_event_pb2
from chatter_grpc.rpc.contract import SERVICES
from tests.support.processes import ROOT


def test_both_copies_of_the_contract_are_one_in_a_process() -> None:
    """Protobuf takes the same file twice where it is equal, and messages pass from one to the other."""
    assert client.run_event_pb2.DESCRIPTOR is server_run_event_pb2.DESCRIPTOR
    pair: list[object] = [client.run_event_pb2.RunEvent, server_run_event_pb2.RunEvent]
    assert pair[0] is pair[1]


def test_the_client_knows_every_service_of_the_server() -> None:
    known = {
        service.full_name
        for file in vars(client).values()
        if hasattr(file, "DESCRIPTOR")
        for service in file.DESCRIPTOR.services_by_name.values()
    }
    assert known == {service.full_name for service in SERVICES}


def test_the_client_brings_the_published_service_config() -> None:
    assert service_config() == (ROOT / "clients" / "service_config.json").read_text()


def test_the_client_needs_nothing_of_the_server() -> None:
    code = "import sys, chatter_client; print([name for name in sys.modules if name.startswith('chatter_grpc')])"
    done = subprocess.run([sys.executable, "-c", code], cwd="/", capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
