"""The start node: where a run enters its graph."""

from typing import Final

from langgraph.graph import START

# LangGraph's own entry stands for it.
NAME: Final = START
