"""Compiles a graph definition to LangGraph."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from langgraph.graph import StateGraph
from langgraph.graph.state import CompiledStateGraph

from chatter_grpc.adapters.langgraph.nodes import end, model, start
from chatter_grpc.adapters.langgraph.state import GraphBuilder, GraphState, RunContext
from chatter_grpc.core.graphs import GraphDefinition, NodeDefinition, NodeType, check_graph

CACHED_GRAPHS: Final = 256
# LangGraph separates the names of graphs and tasks by these.
RESERVED: Final = str.maketrans({"|": "%7C", ":": "%3A", "%": "%25"})

CompiledGraph = CompiledStateGraph[GraphState, RunContext, GraphState, GraphState]


class InvalidGraph(ValueError):
    """A definition that cannot be compiled reached the engine: whoever stores definitions checks them before."""


def compile_graph(definition: GraphDefinition) -> CompiledGraph:
    """Return the compiled graph of a definition; raises ``InvalidGraph``."""
    faults = check_graph(definition)
    if faults:
        raise InvalidGraph("; ".join(faults))
    builder = StateGraph(GraphState, context_schema=RunContext)
    names = {node.id: _add_node(builder, node) for node in definition.nodes}
    for node in definition.nodes:
        before = [names[edge.source] for edge in definition.edges if edge.target == node.id]
        _add_edges(builder, before, names[node.id])
    return builder.compile()


def _add_node(builder: GraphBuilder, node: NodeDefinition) -> str:
    """Add a node and return its name in LangGraph, which is none that LangGraph or the state uses itself."""
    if node.type is NodeType.START:
        return start.NAME
    if node.type is NodeType.END:
        return end.NAME
    assert node.config is not None
    name = f"node.{node.id}".translate(RESERVED)
    model.add_node(builder, name, node, node.config)
    return name


def _add_edges(builder: GraphBuilder, before: Sequence[str], name: str) -> None:
    """Have a node wait for all nodes before it; LangGraph would run it after each."""
    waited = [source for source in before if source != start.NAME]
    if len(waited) > 1 and name != end.NAME:
        builder.add_edge(waited, name)
    else:
        for source in waited or before:
            builder.add_edge(source, name)


# Equal definitions share one graph. A compiled graph holds nothing of a caller: runs bring their context.
cached_graph = lru_cache(CACHED_GRAPHS)(compile_graph)
