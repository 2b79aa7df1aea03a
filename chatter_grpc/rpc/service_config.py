"""Derives what a stock gRPC client should know of the methods: how long to wait, and what it may repeat by itself."""

import json
from typing import Any, Final

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from chatter_grpc.rpc.contract import SERVICES, methods_of

READ_SECONDS: Final = 20
WRITE_SECONDS: Final = 30
# Safe to repeat: until the first answer, a client cannot know whether the server did anything.
REPEATABLE: Final = frozenset({MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT})
RETRY: Final[dict[str, Any]] = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
}
# Stops retries of a client most of whose calls fail (gRFC A6).
THROTTLING: Final = {"maxTokens": 100, "tokenRatio": 0.1}


def service_config() -> dict[str, Any]:
    """Return the service config (gRFC A2, A6) of the contract.

    Streams have no timeout: a run may take as long as it takes. A client's own deadline goes before a longer timeout.
    """
    return {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [method_config(name, method) for name, method in methods_of(SERVICES)],
        "retryThrottling": THROTTLING,
    }


def method_config(name: str, method: MethodDescriptor) -> dict[str, Any]:
    """Return the part of one method."""
    service = name.split("/")[1]
    level = method.GetOptions().idempotency_level
    config: dict[str, Any] = {"name": [{"service": service, "method": method.name}]}
    if not method.server_streaming:
        seconds = READ_SECONDS if level == MethodOptions.NO_SIDE_EFFECTS else WRITE_SECONDS
        config["timeout"] = f"{seconds}s"
    if level in REPEATABLE:
        config["retryPolicy"] = RETRY
    return config


def render() -> str:
    """Return the service config as it stands in ``clients/service_config.json``."""
    return json.dumps(service_config(), indent=2) + "\n"
