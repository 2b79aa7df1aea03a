"""What does the work of a run: the port that an engine implements."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from chatter_grpc.core.models import Turn
from chatter_grpc.core.runs.run import Run, RunInput
from chatter_grpc.core.runs.writer import RunWriter


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What an attempt is given: run, input, and the turns that the model is to see, the user's message last."""

    run: Run
    input: RunInput
    turns: Sequence[Turn]


class Executor(Protocol):
    """Does the work of a run and writes it down."""

    async def execute(self, work: Work, writer: RunWriter) -> None:
        """Run the workflow of ``work`` to its end, writing into ``writer``.

        Returns when it came to its end. Raises a ``ChatterError`` for why it could not. A cancellation ends every
        model call before it is raised on; nothing writes afterwards.
        """
        ...
