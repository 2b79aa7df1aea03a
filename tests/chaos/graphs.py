"""Graphs of several nodes that servers of the crash kit may run in place of the plain one."""

from typing import Final

from chatter_grpc.core.conversations import ModelSettings
from chatter_grpc.core.graphs import EdgeDefinition, GraphDefinition, ModelNode, NodeDefinition, NodeType
from chatter_grpc.core.runs.run import WorkflowKind

BRANCHES: Final = ("left", "middle", "right")
JOIN: Final = "join"


def _model(name: str) -> NodeDefinition:
    return NodeDefinition(
        id=name, type=NodeType.MODEL, config=ModelNode(settings=ModelSettings(model=f"openai/{name}"))
    )


# Three models beside one another, and one that sees what they said.
PARALLEL: Final = GraphDefinition(
    nodes=(
        NodeDefinition(id="start", type=NodeType.START),
        *(_model(name) for name in (*BRANCHES, JOIN)),
        NodeDefinition(id="end", type=NodeType.END),
    ),
    edges=(
        *(EdgeDefinition(source="start", target=name) for name in BRANCHES),
        *(EdgeDefinition(source=name, target=JOIN) for name in BRANCHES),
        EdgeDefinition(source=JOIN, target="end"),
    ),
)
GRAPHS: Final = {"parallel": {WorkflowKind.PLAIN: PARALLEL}}
# The nodes that ask a model, each of which stores a message.
NODES: Final = {"": ("solo",), "parallel": (*BRANCHES, JOIN)}
