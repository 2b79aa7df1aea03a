"""The same afternoon's server over HTTP: FastAPI, server-sent events, and LangGraph's `astream_events`."""

import json
from collections.abc import AsyncIterator
from typing import Annotated

import typer
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from langchain_core.messages import HumanMessage
from pydantic import BaseModel

from benchmarks.afternoon import Graph, build_graph


class Question(BaseModel):
    """What is asked."""

    text: str


def build_app(graph: Graph) -> FastAPI:
    """One route that streams the graph's answer."""
    app = FastAPI()

    async def chat(question: Question) -> StreamingResponse:
        return StreamingResponse(stream_answer(graph, question.text), media_type="text/event-stream")

    app.add_api_route("/chat", chat, methods=["POST"])
    return app


async def stream_answer(graph: Graph, text: str) -> AsyncIterator[str]:
    """Yield each token as an event."""
    async for event in graph.astream_events({"messages": [HumanMessage(text)]}, version="v2"):
        if event["event"] == "on_chat_model_stream" and (piece := event["data"]["chunk"].content):
            yield f"data: {json.dumps({'text': piece})}\n\n"


def main(
    port: Annotated[int, typer.Option()],
    base_url: Annotated[str, typer.Option()],
    model: Annotated[str, typer.Option()],
) -> None:
    """Serve on a port of 127.0.0.1, until SIGTERM or SIGINT."""
    app = build_app(build_graph(base_url, model))
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    typer.run(main)
