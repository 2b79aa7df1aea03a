"""Graph definitions: every fault is found and named, and what has none is a way from the start to the end."""

import pytest

from chatter_grpc.core.conversations import ModelSettings
from chatter_grpc.core.graphs import (
    BUILT_IN,
    MAX_EDGES,
    MAX_NODES,
    EdgeDefinition,
    GraphDefinition,
    ModelNode,
    NodeDefinition,
    NodeType,
    check_graph,
)
from chatter_grpc.core.runs.run import WorkflowKind

START = NodeDefinition(id="start", type=NodeType.START)
END = NodeDefinition(id="end", type=NodeType.END)


def model(id_: str) -> NodeDefinition:
    return NodeDefinition(id=id_, type=NodeType.MODEL, config=ModelNode())


def graph(*edges: str, nodes: tuple[NodeDefinition, ...] | None = None) -> GraphDefinition:
    """Return a graph from edges such as ``a>b``; nodes other than start and end are models."""
    pairs = [edge.split(">") for edge in edges]
    between = sorted({id_ for pair in pairs for id_ in pair} - {"start", "end"})
    return GraphDefinition(
        nodes=nodes or (START, *map(model, between), END),
        edges=tuple(EdgeDefinition(source=source, target=target) for source, target in pairs),
    )


SOUND = {
    "plain": graph("start>a", "a>end"),
    "nothing between": graph("start>end"),
    "a chain": graph("start>a", "a>b", "b>end"),
    "branches": graph("start>a", "start>b", "a>end", "b>end"),
    "a diamond": graph("start>a", "a>b", "a>c", "b>d", "c>d", "d>end"),
    "ways of different length": graph("start>a", "start>b", "a>b", "b>end", "a>end"),
    "any names": graph("start>:", ":>__end__", "__end__>turns", "turns>end"),
}
FAULTS = {
    "no nodes": (
        GraphDefinition(nodes=(), edges=()),
        [
            "there are 0 nodes of type start, and there must be one",
            "there are 0 nodes of type end, and there must be one",
        ],
    ),
    "two of one id": (
        graph("start>a", "a>end", nodes=(START, model("a"), model("a"), END)),
        ["two nodes have the id 'a'"],
    ),
    "two starts": (
        graph("start>end", nodes=(START, NodeDefinition(id="again", type=NodeType.START), END)),
        ["there are 2 nodes of type start, and there must be one"],
    ),
    "a model without configuration": (
        graph("start>a", "a>end", nodes=(START, NodeDefinition(id="a", type=NodeType.MODEL), END)),
        ["node 'a' of type model has the wrong configuration"],
    ),
    "a start with one": (
        graph("start>end", nodes=(NodeDefinition(id="start", type=NodeType.START, config=ModelNode()), END)),
        ["node 'start' of type start has the wrong configuration"],
    ),
    "unknown ends": (
        graph("start>a", "a>end", "x>y", nodes=(START, model("a"), END)),
        ["the edge 'x' → 'y' names no node 'x'", "the edge 'x' → 'y' names no node 'y'"],
    ),
    "one edge twice": (graph("start>a", "start>a", "a>end"), ["there are two edges 'start' → 'a'"]),
    "an edge out of the end": (graph("start>a", "a>end", "end>a"), ["the edge 'end' → 'a' leaves the end"]),
    "an edge into the start": (
        graph("start>a", "a>start", "a>end"),
        ["the edge 'a' → 'start' leads back to the start"],
    ),
    "an island": (
        graph("start>a", "a>end", nodes=(START, model("a"), model("b"), END)),
        ["node 'b' cannot be reached from the start", "node 'b' leads to no end"],
    ),
    "a dead end": (graph("start>a", "start>b", "a>end"), ["node 'b' leads to no end"]),
    "no way to the end": (
        graph("start>a", nodes=(START, model("a"), END)),
        ["node 'end' cannot be reached from the start", "node 'start' leads to no end", "node 'a' leads to no end"],
    ),
    "a loop of one": (graph("start>a", "a>a", "a>end"), ["node 'a' is in a loop"]),
    "a loop of two": (graph("start>a", "a>b", "b>a", "b>end"), ["node 'a' is in a loop", "node 'b' is in a loop"]),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_graph_without_faults_is_accepted(name: str) -> None:
    assert check_graph(SOUND[name]) == ()


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_named(name: str) -> None:
    definition, faults = FAULTS[name]
    assert list(check_graph(definition)) == faults


def test_a_graph_has_a_largest_size() -> None:
    chain = [f"n{number}" for number in range(MAX_NODES - 2)]
    edges = [f"{source}>{target}" for source, target in zip(["start", *chain], [*chain, "end"], strict=True)]
    assert check_graph(graph(*edges)) == ()
    longer = [f"start>{'x'}", f"x>{chain[0]}", *edges[1:]]
    assert check_graph(graph(*longer)) == (f"there are {MAX_NODES + 1} nodes, and there may be {MAX_NODES}",)


def test_a_graph_has_a_largest_number_of_edges() -> None:
    names = [f"n{number}" for number in range(30)]
    between = [f"{source}>{target}" for place, source in enumerate(names) for target in names[place + 1 :]]
    edges = [f"start>{names[0]}", f"{names[-1]}>end", *between]
    assert check_graph(graph(*edges[:MAX_EDGES])) != ("too many",)
    assert f"there are {len(edges)} edges, and there may be {MAX_EDGES}" in check_graph(graph(*edges))


@pytest.mark.parametrize("kind", set(WorkflowKind) - {WorkflowKind.HOUSEKEEPING})
def test_every_kind_of_workflow_for_callers_is_built_in_and_sound(kind: WorkflowKind) -> None:
    assert check_graph(BUILT_IN[kind]) == ()


def test_equal_definitions_are_equal() -> None:
    assert graph("start>a", "a>end") == graph("start>a", "a>end")
    assert hash(graph("start>a", "a>end")) == hash(graph("start>a", "a>end"))
    other = NodeDefinition(id="a", type=NodeType.MODEL, config=ModelNode(settings=ModelSettings(temperature=0.5)))
    assert graph("start>a", "a>end") != graph("start>a", "a>end", nodes=(START, other, END))
