"""Graph definitions: what a workflow is made of, before any engine compiles it."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeVar

from chatter_grpc.core.conversations import ModelSettings
from chatter_grpc.core.runs.run import WorkflowKind

Value = TypeVar("Value")
MAX_NODES: Final = 100
MAX_EDGES: Final = 200


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
    """A way from one node to another, by their ids. A node begins when all nodes that lead to it have ended."""

    source: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphDefinition:
    """A workflow: nodes and the edges between them. Equal definitions compile to one graph."""

    nodes: tuple[NodeDefinition, ...]
    edges: tuple[EdgeDefinition, ...]


def check_graph(graph: GraphDefinition) -> tuple[str, ...]:
    """Return what is wrong with a definition, one sentence each; nothing where it can be compiled.

    A definition leads from its one start to its one end without a loop, and every node lies on such a way.
    """
    return tuple(_faults_of_nodes(graph) + _faults_of_edges(graph)) or tuple(_faults_of_ways(graph))


def _faults_of_nodes(graph: GraphDefinition) -> list[str]:
    faults = [f"two nodes have the id {id_!r}" for id_ in _repeated(node.id for node in graph.nodes)]
    if len(graph.nodes) > MAX_NODES:
        faults.append(f"there are {len(graph.nodes)} nodes, and there may be {MAX_NODES}")
    for type_ in (NodeType.START, NodeType.END):
        count = sum(node.type is type_ for node in graph.nodes)
        if count != 1:
            faults.append(f"there are {count} nodes of type {type_}, and there must be one")
    faults.extend(
        f"node {node.id!r} of type {node.type} has the wrong configuration"
        for node in graph.nodes
        if (node.type is NodeType.MODEL) != (node.config is not None)
    )
    return faults


def _faults_of_edges(graph: GraphDefinition) -> list[str]:
    types = {node.id: node.type for node in graph.nodes}
    faults = [
        f"there are two edges {source!r} → {target!r}"
        for source, target in _repeated((edge.source, edge.target) for edge in graph.edges)
    ]
    if len(graph.edges) > MAX_EDGES:
        faults.append(f"there are {len(graph.edges)} edges, and there may be {MAX_EDGES}")
    for edge in graph.edges:
        way = f"the edge {edge.source!r} → {edge.target!r}"
        faults.extend(f"{way} names no node {end!r}" for end in (edge.source, edge.target) if end not in types)
        if types.get(edge.source) is NodeType.END:
            faults.append(f"{way} leaves the end")
        if types.get(edge.target) is NodeType.START:
            faults.append(f"{way} leads back to the start")
    return faults


def _faults_of_ways(graph: GraphDefinition) -> list[str]:
    start = {node.id for node in graph.nodes if node.type is NodeType.START}
    end = {node.id for node in graph.nodes if node.type is NodeType.END}
    after_start = _reached(start, lambda ids: {edge.target for edge in graph.edges if edge.source in ids})
    before_end = _reached(end, lambda ids: {edge.source for edge in graph.edges if edge.target in ids})
    ids = [node.id for node in graph.nodes]
    return [
        *(f"node {id_!r} cannot be reached from the start" for id_ in ids if id_ not in after_start),
        *(f"node {id_!r} leads to no end" for id_ in ids if id_ not in before_end),
        *(f"node {id_!r} is in a loop" for id_ in _in_loops(graph)),
    ]


def _reached(ids: set[str], step: Callable[[set[str]], set[str]]) -> set[str]:
    reached = set(ids)
    fresh = reached
    while fresh:
        fresh = step(fresh) - reached
        reached |= fresh
    return reached


def _in_loops(graph: GraphDefinition) -> list[str]:
    """Return the nodes that lie in a loop or between two: what is left when nodes without a way in or out are gone."""
    left = {node.id for node in graph.nodes}
    while True:
        edges = [edge for edge in graph.edges if edge.source in left and edge.target in left]
        kept = {edge.source for edge in edges} & {edge.target for edge in edges}
        if kept == left:
            return sorted(left)
        left = kept


def _repeated(values: Iterable[Value]) -> list[Value]:
    return [value for value, count in Counter(values).items() if count > 1]


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
