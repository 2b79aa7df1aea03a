"""Says in one line, without a traceback, what keeps a command from doing its work."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

import typer

from chatter_grpc.adapters.files.data_dir import DataDirectoryBusy
from chatter_grpc.adapters.tokens.secret import SecretRefused
from chatter_grpc.config import ConfigurationFault
from chatter_grpc.core.errors import StorageUnavailable
from chatter_grpc.rpc.faults import AddressRefused

EXIT_FAILED: Final = 1
EXIT_MISCONFIGURED: Final = 2


@contextmanager
def said_plainly() -> Iterator[None]:
    """Turn the faults that an operator can put right into a line each on stderr, and an exit code.

    2 where the settings are wrong, 1 where they are right and the world is not. Anything else is a bug and keeps its
    traceback.
    """
    try:
        yield
    except (ConfigurationFault, SecretRefused) as fault:
        complain(str(fault), code=EXIT_MISCONFIGURED)
    except (AddressRefused, DataDirectoryBusy) as fault:
        complain(str(fault))
    except StorageUnavailable:
        complain("the database (CHATTER_DATABASE_URL) cannot be reached or does not answer in time")
    except OSError as fault:
        if fault.filename is None:
            raise
        complain(f"{fault.filename}: {fault.strerror}")


def complain(text: str, *, code: int = EXIT_FAILED) -> NoReturn:
    """Write each line of the text to stderr, with the program's name before it, and exit."""
    for line in text.splitlines():
        print(f"chatter-grpc: {line}", file=sys.stderr)
    raise typer.Exit(code)
