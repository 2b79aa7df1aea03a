"""Makes a server listen, and finds out why where it cannot."""

import socket
from typing import Final

import grpc

from chatter_grpc.rpc.faults import AddressRefused

UNIX: Final = "unix:"


def listen(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> int:
    """Listen on ``host:port`` or ``unix:/path``; return the port (1 for a unix socket). Raises ``AddressRefused``."""
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise AddressRefused(f"cannot listen on {address}: {reason(address)}") from error


def reason(address: str) -> str:
    """Return what the operating system says to the address; gRPC keeps that to itself."""
    if address.startswith(UNIX):
        return "its directory is missing or not to be written in"
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.bind((host.strip("[]"), int(port)))
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return "gRPC refuses it"
