"""The start node: where a run enters its graph."""

from langgraph.graph import START

from chatter_grpc.adapters.langgraph.state import GraphBuilder
from chatter_grpc.core.graphs import EdgeDefinition


def add_edge(builder: GraphBuilder, edge: EdgeDefinition) -> None:
    """Lead from LangGraph's own entry to where an edge of the start node leads."""
    builder.add_edge(START, edge.target)
