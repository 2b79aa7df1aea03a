"""Requests as LangChain's messages."""

from base64 import b64encode
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from chatter_grpc.core.models import Image, ModelRequest, Role, Turn


def messages_of(request: ModelRequest) -> list[BaseMessage]:
    """Return a request's messages, the system prompt first where there is one."""
    messages: list[BaseMessage] = [SystemMessage(request.system_prompt)] if request.system_prompt else []
    return messages + [_message(turn) for turn in request.turns]


def _message(turn: Turn) -> BaseMessage:
    if turn.role is Role.ASSISTANT:
        return AIMessage(turn.text)
    if not turn.images:
        return HumanMessage(turn.text)
    # An image stands before what is asked of it, as providers advise.
    blocks: list[str | dict[str, Any]] = [_block(image) for image in turn.images]
    if turn.text:
        blocks.append({"type": "text", "text": turn.text})
    return HumanMessage(blocks)


def _block(image: Image) -> dict[str, Any]:
    """Return an image in the one form that all integrations read."""
    data = b64encode(image.data).decode()
    return {"type": "image_url", "image_url": {"url": f"data:{image.media_type};base64,{data}"}}
