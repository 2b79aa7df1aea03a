"""Executes the work of a run as a LangGraph graph."""

from collections.abc import Mapping
from copy import copy
from typing import Final

from langchain_core.runnables import RunnableConfig

from chatter_grpc.adapters.langgraph.compiler import cached_graph
from chatter_grpc.adapters.langgraph.saver import RunCheckpoints
from chatter_grpc.adapters.langgraph.state import GraphState, RunContext
from chatter_grpc.core.asking import Asking
from chatter_grpc.core.errors import WorkflowNotFound
from chatter_grpc.core.graphs import BUILT_IN, GraphDefinition, NodeType
from chatter_grpc.core.runs.executor import Work
from chatter_grpc.core.runs.run import WorkflowKind
from chatter_grpc.core.runs.saving import Checkpointing
from chatter_grpc.core.runs.writer import RunWriter, StepWriter

_BEGINNING: GraphState = {"turns": []}
# What is streamed of a graph nobody reads. Without a saver there are no checkpoints, and so nothing is gathered for it.
_NOTHING: Final = "checkpoints"


class LangGraphEngine:
    """The ``Executor`` for graphs.

    A graph of one step has no checkpoints: it repeats the step, unless that has finished. Others are resumed after the
    steps that have.
    """

    def __init__(
        self, asking: Asking, checkpoints: Checkpointing, graphs: Mapping[WorkflowKind, GraphDefinition] = BUILT_IN
    ) -> None:
        self._asking = asking
        self._checkpoints = checkpoints
        self._graphs = graphs

    async def execute(self, work: Work, writer: RunWriter) -> None:
        """Run the graph of a run's workflow; LangGraph ends its nodes before it raises a cancellation on."""
        run = work.run
        definition = None if run.kind is None else self._graphs.get(run.kind)
        if definition is None:
            raise WorkflowNotFound(workflow_id=run.workflow_id or "")
        steps = {node.id for node in definition.nodes if node.type is NodeType.MODEL}
        writer.checkpointed = len(steps) > 1
        if work.before is not None and steps <= work.before.finished_nodes:
            return
        if not writer.checkpointed:
            await cached_graph(definition).ainvoke(
                _BEGINNING, context=self._context(work, writer), stream_mode=_NOTHING
            )
        else:
            await self._execute_steps(definition, work, writer)

    async def _execute_steps(self, definition: GraphDefinition, work: Work, writer: RunWriter) -> None:
        checkpoints = self._checkpoints.of(work.run, writer)
        steps: dict[str, StepWriter] = {}
        saver = RunCheckpoints(checkpoints, steps)
        # The nodes are shared, the saver is the attempt's.
        graph = copy(cached_graph(definition))
        graph.checkpointer = saver
        config: RunnableConfig = {"configurable": {"thread_id": work.run.id}}
        try:
            begun = work.before is not None and await saver.aget_tuple(config) is not None
            await graph.ainvoke(
                # LangGraph goes on from the latest checkpoint where it is given nothing.
                None if begun else _BEGINNING,
                config,
                context=self._context(work, writer, steps),
                durability="sync",
            )
        finally:
            await checkpoints.close()

    def _context(self, work: Work, writer: RunWriter, steps: dict[str, StepWriter] | None = None) -> RunContext:
        return RunContext(
            writer=writer,
            asking=self._asking,
            input=work.input,
            owner_id=work.run.owner_id,
            turns=work.turns,
            steps=steps,
        )
