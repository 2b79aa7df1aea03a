"""The end node: where a run leaves its graph."""

from typing import Final

from langgraph.graph import END

# LangGraph's own exit stands for it.
NAME: Final = END
