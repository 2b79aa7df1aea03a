"""The afternoon server: what a competent engineer has running in an afternoon with grpc.aio, LangGraph and LangChain.

No authentication, no storage, no limits; one message per token, as LangGraph's `messages` mode hands them out.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, TypedDict

import grpc
import typer
from langchain_core.messages import AIMessageChunk, AnyMessage, HumanMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph, add_messages
from langgraph.graph.state import CompiledStateGraph
from pydantic import SecretStr

from benchmarks.processes import wait_for_signal
from chatter_grpc._gen.chatter.v1.chat_service_pb2 import SendMessageRequest
from chatter_grpc._gen.chatter.v1.content_pb2 import TextPart

Context = grpc.aio.ServicerContext[SendMessageRequest, TextPart]


class State(TypedDict):
    """The conversation."""

    messages: Annotated[list[AnyMessage], add_messages]


Graph = CompiledStateGraph[State, None, State, State]


def build_graph(base_url: str, model: str) -> Graph:
    """One model node."""
    llm = ChatOpenAI(model=model, base_url=base_url, api_key=SecretStr("none"), streaming=True)

    async def answer(state: State) -> dict[str, Any]:
        return {"messages": [await llm.ainvoke(state["messages"])]}

    builder = StateGraph(State)
    builder.add_node("model", answer)
    builder.add_edge(START, "model")
    builder.add_edge("model", END)
    return builder.compile()


class ChatServicer:
    """Streams the graph's answer."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    async def send_message(self, request: SendMessageRequest, context: Context) -> AsyncIterator[TextPart]:
        """Yield each token as a message."""
        question = HumanMessage("".join(part.text.text for part in request.parts))
        async for chunk, _ in self._graph.astream({"messages": [question]}, stream_mode="messages"):
            if isinstance(chunk, AIMessageChunk) and chunk.content:
                yield TextPart(text=str(chunk.content))


async def serve(port: int, base_url: str, model: str) -> None:
    """Serve until SIGTERM or SIGINT."""
    servicer = ChatServicer(build_graph(base_url, model))
    handler = grpc.unary_stream_rpc_method_handler(
        servicer.send_message,
        request_deserializer=SendMessageRequest.FromString,
        response_serializer=TextPart.SerializeToString,
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("chatter.v1.ChatService", {"SendMessage": handler}),)
    )
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await wait_for_signal()
    await server.stop(grace=1)


def main(
    port: Annotated[int, typer.Option()],
    base_url: Annotated[str, typer.Option()],
    model: Annotated[str, typer.Option()],
) -> None:
    """Serve on a port of 127.0.0.1."""
    asyncio.run(serve(port, base_url, model))


if __name__ == "__main__":
    typer.run(main)
