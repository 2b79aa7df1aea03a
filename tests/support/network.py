"""Keeps tests on this machine."""

import ipaddress
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class NetworkGuard:
    """Refuses connections of Python's own sockets to other machines, and remembers them.

    Libraries that bring sockets of their own (gRPC's core, uvloop) are not seen.
    """

    def __init__(self) -> None:
        self._watching = False
        self._refused: list[str] = []
        # An audit hook stays for as long as the process does.
        sys.addaudithook(self._look)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Fail what runs within if it tried to leave this machine, whatever it did with the error."""
        self._watching = True
        self._refused.clear()
        try:
            yield
        finally:
            self._watching = False
        assert not self._refused, f"connections that leave this machine: {self._refused}"

    def _look(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._watching or event not in {"socket.connect", "socket.getaddrinfo"}:
            return
        address = arguments[1] if event == "socket.connect" else arguments
        # A path of a Unix socket is no tuple.
        if isinstance(address, tuple) and not is_local(address[0]):
            self._refused.append(f"{event} {address[:2]}")
            raise PermissionError(f"tests stay on this machine: {address[:2]}")


def is_local(host: Any) -> bool:
    """Whether a host is this machine."""
    if host in {None, "", b"", "localhost", b"localhost"}:
        return True
    try:
        address = ipaddress.ip_address(host.decode() if isinstance(host, bytes) else host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
