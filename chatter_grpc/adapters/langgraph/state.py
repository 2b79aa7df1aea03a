"""What a compiled graph is given: its state, and the context of the run that it works for."""

import operator
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from typing import Annotated, TypedDict

from langgraph.graph import StateGraph
from langgraph.runtime import ExecutionInfo

from chatter_grpc.core.asking import Asking
from chatter_grpc.core.models import Turn
from chatter_grpc.core.runs.run import RunInput
from chatter_grpc.core.runs.writer import RunWriter, StepWriter


class GraphState(TypedDict):
    """The state that nodes read and add to, and that checkpoints hold: the turns that the run itself has added."""

    turns: Annotated[Sequence[Turn], operator.add]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """What belongs to one attempt: LangGraph hands it to the nodes, and it is no part of the state.

    ``turns`` are those that the model sees before the run's own, a window and not the history. ``steps`` takes the
    steps whose nodes have returned, by LangGraph's ids of their tasks, for the saver to finish; ``None`` where there
    are no checkpoints.
    """

    writer: RunWriter
    asking: Asking
    input: RunInput
    owner_id: str
    turns: Sequence[Turn] = ()
    steps: MutableMapping[str, StepWriter] | None = None

    def finish(self, step: StepWriter, info: ExecutionInfo | None) -> None:
        """End a step as its node returns: at once, or with what LangGraph keeps of it."""
        if self.steps is None:
            step.finish()
        else:
            assert info is not None
            self.steps[info.task_id] = step


GraphBuilder = StateGraph[GraphState, RunContext, GraphState, GraphState]
