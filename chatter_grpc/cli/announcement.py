"""The line by which a server says where it serves, and by which who started it finds out."""

import re
from typing import Final

from chatter_grpc import __version__

_SAID: Final = re.compile(r"Chatter \S+ serves on (?P<address>\S+)")


def announce(address: str) -> str:
    """Return the line for an address such as ``127.0.0.1:50051``."""
    return f"Chatter {__version__} serves on {address}"


def read_announcement(line: str) -> str | None:
    """Return the address that a line announces, or ``None`` where it is another line."""
    said = _SAID.fullmatch(line.strip())
    return None if said is None else said["address"]
