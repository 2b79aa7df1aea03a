"""The end node: where a run leaves its graph."""

from langgraph.graph import END

from chatter_grpc.adapters.langgraph.state import GraphBuilder
from chatter_grpc.core.graphs import EdgeDefinition


def add_edge(builder: GraphBuilder, edge: EdgeDefinition) -> None:
    """Lead an edge to the end node to LangGraph's own exit."""
    builder.add_edge(edge.source, END)
