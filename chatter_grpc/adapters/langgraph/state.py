"""What a compiled graph is given: its state, and the context of the run that it works for."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, TypedDict

from langgraph.graph import StateGraph

from chatter_grpc.core.asking import Asking
from chatter_grpc.core.models import Turn
from chatter_grpc.core.runs.run import RunInput
from chatter_grpc.core.runs.writer import RunWriter


class GraphState(TypedDict):
    """The state that nodes read and add to: the turns that the model sees, a window and not the history."""

    turns: Annotated[Sequence[Turn], operator.add]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """What belongs to one run: LangGraph hands it to the nodes, and it is no part of the state."""

    writer: RunWriter
    asking: Asking
    input: RunInput
    owner_id: str


GraphBuilder = StateGraph[GraphState, RunContext, GraphState, GraphState]
