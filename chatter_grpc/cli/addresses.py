"""The address at which a server is reached that listens on another one."""

from typing import Final

# A server that listens on all addresses is reached on the loopback.
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - nothing is bound here


def reachable(listen: str) -> str:
    """Return the address at which a server that listens there is reached from this machine."""
    host, colon, port = listen.rpartition(":")
    return f"{_EVERYWHERE.get(host, host)}{colon}{port}"
