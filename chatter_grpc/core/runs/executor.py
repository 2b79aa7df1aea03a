"""What does the work of a run: the port that an engine implements."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from chatter_grpc.core.models import Turn
from chatter_grpc.core.runs.fold import Fold
from chatter_grpc.core.runs.run import Run, RunInput, WorkflowKind
from chatter_grpc.core.runs.writer import RunWriter


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What an attempt is given: run, input, and the turns that the model is to see, the user's message last.

    ``before`` is what the log of the attempts before amounts to, ``None`` for the first: steps that have finished are
    not repeated. ``elapsed`` is how many seconds ago the first attempt began when this one did.
    """

    run: Run
    input: RunInput
    turns: Sequence[Turn]
    before: Fold | None = None
    elapsed: float = 0.0


class Executor(Protocol):
    """Does the work of a run and writes it down."""

    async def execute(self, work: Work, writer: RunWriter) -> None:
        """Run the workflow of ``work`` to its end, writing into ``writer``.

        What attempts before finished (``work.before``) is not done again; where that is all of it, there is nothing to
        do. Returns when it came to its end. Raises a ``ChatterError`` for why it could not. A cancellation ends every
        model call before it is raised on; nothing writes afterwards.
        """
        ...


class ExecutorByKind:
    """The ``Executor`` that leaves a run to the one for its kind, and what has none of its own to ``otherwise``."""

    def __init__(self, executors: Mapping[WorkflowKind, Executor], otherwise: Executor) -> None:
        self._executors = executors
        self._otherwise = otherwise

    async def execute(self, work: Work, writer: RunWriter) -> None:
        """See ``Executor``."""
        kind = work.run.kind
        executor = self._otherwise if kind is None else self._executors.get(kind, self._otherwise)
        await executor.execute(work, writer)
