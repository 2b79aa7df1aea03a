"""The engine: compiles graph definitions of the core to LangGraph and runs them."""
