"""What a stream tells whoever wants to know that it broke and goes on."""

from collections.abc import Callable
from dataclasses import dataclass

from chatter_client.errors import ChatterError


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruption:
    """A stream broke and is opened again after ``pause`` seconds.

    ``cause`` is ``None`` where it ended without an error before the run did, as when a server stops. ``run_id`` is
    empty where the run is not known yet.
    """

    cause: ChatterError | None
    pause: float
    run_id: str


Listener = Callable[[Interruption], None]


def ignore(_: Interruption) -> None:
    """Do not want to know."""
