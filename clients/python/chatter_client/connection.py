"""How to reach a server: encryption, the published service config, keepalive, and what stands in the contract."""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Final

import grpc

from chatter_client._gen.chatter.options.v1 import policy_pb2
from chatter_client.contract import (
    auth_service_pb2,
    chat_service_pb2,
    run_service_pb2,
    system_service_pb2,
    user_service_pb2,
)

SERVICES: Final[Sequence[Any]] = [
    service
    for file in (auth_service_pb2, chat_service_pb2, run_service_pb2, system_service_pb2, user_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """An encrypted connection; all in PEM.

    ``root_certificates`` are those to trust, the system's where there are none. ``private_key`` and
    ``certificate_chain`` are this client's own, for a server that asks for them. ``server_name`` is the name to expect
    in the server's certificate, where it is not that of the target.
    """

    root_certificates: bytes | None = None
    private_key: bytes | None = field(default=None, repr=False)
    certificate_chain: bytes | None = None
    server_name: str = ""


def encryption_of(target: str, tls: Tls | bool | None) -> Tls | None:
    """Return how to encrypt, ``None`` for not at all.

    Left open (``None``), only what stays on this machine is not encrypted: no token leaves it in the clear unless
    ``False`` was said.
    """
    if isinstance(tls, Tls):
        return tls
    if tls is None:
        tls = not is_local(target)
    return Tls() if tls else None


def is_local(target: str) -> bool:
    """Whether a target is this machine by its name alone."""
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    host = target.removeprefix("dns:///").removeprefix("ipv4:").removeprefix("ipv6:")
    host = host.partition("]")[0].removeprefix("[") if host.startswith("[") else host.rpartition(":")[0] or host
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def channel_credentials(tls: Tls) -> grpc.ChannelCredentials:
    """Return gRPC's form of them."""
    return grpc.ssl_channel_credentials(tls.root_certificates, tls.private_key, tls.certificate_chain)


def channel_options(tls: Tls | None, more: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Return the options of a channel, with ``more`` after the client's own."""
    options: list[tuple[str, Any]] = [
        ("grpc.service_config", service_config()),
        # The server allows a ping every 10 seconds; a connection that is dead is noticed within 30.
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # By default a server that was away is looked for every two minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
    ]
    if tls is not None and tls.server_name:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    return [*options, *more]


def service_config() -> str:
    """Return the published service config: the time limit of each method, and which are repeated."""
    return (files("chatter_client") / "_gen" / "service_config.json").read_text()


def read_public_methods() -> frozenset[str]:
    """Return the methods that take no credentials, as the contract states it, as ``/service/method``."""
    return frozenset(
        f"/{service.full_name}/{method.name}"
        for service in SERVICES
        for method in service.methods
        if method.GetOptions().Extensions[policy_pb2.policy].access == policy_pb2.ACCESS_PUBLIC
    )


def read_openings() -> Mapping[str, tuple[str, str]]:
    """Return the methods that stream a run, as service and method, by the full names of their requests."""
    return {
        method.input_type.full_name: (service.name, method.name)
        for service in SERVICES
        for method in service.methods
        if method.server_streaming and "cursor" in method.output_type.fields_by_name
    }


PUBLIC_METHODS: Final = read_public_methods()
OPENINGS: Final = read_openings()
