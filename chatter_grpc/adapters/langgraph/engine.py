"""Executes the work of a run as a LangGraph graph."""

from chatter_grpc.adapters.langgraph.compiler import cached_graph
from chatter_grpc.adapters.langgraph.state import RunContext
from chatter_grpc.core.asking import Asking
from chatter_grpc.core.errors import WorkflowNotFound
from chatter_grpc.core.graphs import BUILT_IN
from chatter_grpc.core.runs.executor import Work
from chatter_grpc.core.runs.writer import RunWriter


class LangGraphEngine:
    """The ``Executor`` for graphs."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    async def execute(self, work: Work, writer: RunWriter) -> None:
        """Run the graph of a run's workflow; LangGraph ends its nodes before it raises a cancellation on."""
        run = work.run
        if run.kind is None:
            raise WorkflowNotFound(workflow_id=run.workflow_id or "")
        graph = cached_graph(BUILT_IN[run.kind])
        context = RunContext(writer=writer, asking=self._asking, input=work.input, owner_id=work.run.owner_id)
        await graph.ainvoke({"turns": list(work.turns)}, context=context)
