"""How each type of node is built into a LangGraph graph, one module per type."""
