"""The service config for stock clients is what the contract says now."""

from pathlib import Path

from google.protobuf.descriptor_pb2 import MethodOptions

from chatter_grpc.rpc.contract import SERVICES, methods_of
from chatter_grpc.rpc.service_config import render, service_config

FILE = Path(__file__).resolve().parents[2] / "clients" / "service_config.json"


def test_the_service_config_is_current() -> None:
    assert FILE.read_text() == render()


def test_a_client_repeats_by_itself_what_is_safe_to_repeat_and_nothing_else() -> None:
    levels = {method.full_name: method.GetOptions().idempotency_level for _, method in methods_of(SERVICES)}
    for config in service_config()["methodConfig"]:
        (name,) = config["name"]
        level = levels[f"{name['service']}.{name['method']}"]
        assert ("retryPolicy" in config) is (level != MethodOptions.IDEMPOTENCY_UNKNOWN), name


def test_calls_have_a_deadline_and_streams_have_none() -> None:
    streams = {method.name for _, method in methods_of(SERVICES) if method.server_streaming}
    for config in service_config()["methodConfig"]:
        assert ("timeout" in config) is (config["name"][0]["method"] not in streams)
