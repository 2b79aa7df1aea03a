"""What a server says as it starts: the line by which who started it finds out where it serves, and its own command."""

import re
import shlex
import shutil
import sys
from pathlib import Path
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


def own_command() -> str:
    """Return how a person at the shell calls this program: by its name, or by its path where that is not on PATH."""
    started = Path(sys.argv[0])
    found = shutil.which(started.name)
    if started.name != "chatter-grpc" or (found is not None and Path(found).samefile(started)):
        return "chatter-grpc"
    try:
        return shlex.quote(str(started.absolute().relative_to(Path.cwd())))
    except ValueError:
        return shlex.quote(str(started.absolute()))
