"""Compiles a graph definition to LangGraph."""

from functools import lru_cache
from typing import Final

from langgraph.graph import StateGraph
from langgraph.graph.state import CompiledStateGraph

from chatter_grpc.adapters.langgraph.nodes import end, model, start
from chatter_grpc.adapters.langgraph.state import GraphState, RunContext
from chatter_grpc.core.graphs import GraphDefinition, NodeType, check_graph

CACHED_GRAPHS: Final = 256

CompiledGraph = CompiledStateGraph[GraphState, RunContext, GraphState, GraphState]


class InvalidGraph(ValueError):
    """A definition that cannot be compiled reached the engine: whoever stores definitions checks them before."""


def compile_graph(definition: GraphDefinition) -> CompiledGraph:
    """Return the compiled graph of a definition; raises ``InvalidGraph``."""
    faults = check_graph(definition)
    if faults:
        raise InvalidGraph("; ".join(faults))
    builder = StateGraph(GraphState, context_schema=RunContext)
    types = {node.id: node.type for node in definition.nodes}
    for node in definition.nodes:
        if node.config is not None:
            model.add_node(builder, node, node.config)
    for edge in definition.edges:
        if types[edge.source] is NodeType.START:
            start.add_edge(builder, edge)
        elif types[edge.target] is NodeType.END:
            end.add_edge(builder, edge)
        else:
            builder.add_edge(edge.source, edge.target)
    return builder.compile()


# Equal definitions share one graph. A compiled graph holds nothing of a caller: runs bring their context.
cached_graph = lru_cache(CACHED_GRAPHS)(compile_graph)
