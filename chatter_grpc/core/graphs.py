"""Graph definitions: what a workflow is made of, before any engine compiles it."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from chatter_grpc.core.conversations import ModelSettings
from chatter_grpc.core.runs.run import WorkflowKind


class NodeType(StrEnum):
    """What a node does."""

    START = "start"
    MODEL = "model"
    END = "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelNode:
    """Asks a model with the conversation's memory. Its settings go before those of the run."""

    settings: ModelSettings = field(default_factory=ModelSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDefinition:
    """One node; ``config`` is set exactly where the type has one."""

    id: str
    type: NodeType
    config: ModelNode | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeDefinition:
    """A way from one node to another, by their ids."""

    source: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphDefinition:
    """A workflow: nodes and the edges between them. Equal definitions compile to one graph."""

    nodes: tuple[NodeDefinition, ...]
    edges: tuple[EdgeDefinition, ...]


def check_graph(graph: GraphDefinition) -> tuple[str, ...]:
    """Return what is wrong with a definition, one sentence each; nothing where it can be compiled."""
    ids = [node.id for node in graph.nodes]
    faults = [f"two nodes have the id {id_!r}" for id_ in sorted({id_ for id_ in ids if ids.count(id_) > 1})]
    for type_ in (NodeType.START, NodeType.END):
        count = sum(node.type is type_ for node in graph.nodes)
        if count != 1:
            faults.append(f"there are {count} nodes of type {type_}, and there must be one")
    faults.extend(
        f"node {node.id!r} of type {node.type} has the wrong configuration"
        for node in graph.nodes
        if (node.type is NodeType.MODEL) != (node.config is not None)
    )
    for edge in graph.edges:
        faults.extend(
            f"the edge {edge.source!r} → {edge.target!r} names no node {end!r}"
            for end in (edge.source, edge.target)
            if end not in ids
        )
    return tuple(faults) or tuple(_unreachable(graph))


def _unreachable(graph: GraphDefinition) -> list[str]:
    reached = {node.id for node in graph.nodes if node.type is NodeType.START}
    fresh = set(reached)
    while fresh:
        fresh = {edge.target for edge in graph.edges if edge.source in fresh} - reached
        reached |= fresh
    return [f"node {node.id!r} cannot be reached from the start" for node in graph.nodes if node.id not in reached]


PLAIN: Final = GraphDefinition(
    nodes=(
        NodeDefinition(id="start", type=NodeType.START),
        NodeDefinition(id="model", type=NodeType.MODEL, config=ModelNode()),
        NodeDefinition(id="end", type=NodeType.END),
    ),
    edges=(EdgeDefinition(source="start", target="model"), EdgeDefinition(source="model", target="end")),
)

# The definitions that are built in.
BUILT_IN: Final = {WorkflowKind.PLAIN: PLAIN}
