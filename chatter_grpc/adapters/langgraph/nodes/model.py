"""The model node: asks a model and writes its answer into the run, token by token."""

from langgraph.runtime import Runtime

from chatter_grpc.adapters.langgraph.state import GraphBuilder, GraphState, RunContext
from chatter_grpc.core.graphs import ModelNode, NodeDefinition, NodeType
from chatter_grpc.core.inquiries import Inquiry
from chatter_grpc.core.models import Role, Turn


def add_node(builder: GraphBuilder, name: str, node: NodeDefinition, config: ModelNode) -> None:
    """Add a node that asks the model once with the turns up to now, and adds its answer to those of the state.

    Tokens go from here into the run's writer, not through LangGraph's stream, which would cost more than all the rest.
    """

    async def ask(state: GraphState, runtime: Runtime[RunContext]) -> GraphState:
        context = runtime.context
        settings = config.settings.over(context.input.settings)
        inquiry = Inquiry(
            turns=(*context.turns, *state["turns"]),
            settings=settings,
            response_schema=context.input.response_schema,
            owner_id=context.owner_id,
        )
        step = context.writer.open_step(node.id, NodeType.MODEL)
        message = await context.asking.write(step, inquiry)
        context.finish(step, runtime.execution_info)
        return {"turns": [Turn(role=Role.ASSISTANT, text=message.text)]}

    builder.add_node(name, ask)
