"""Reads the streams of chat models in tests."""

from collections.abc import Sequence

from chatter_grpc.core.models import (
    ChatModel,
    ModelDelta,
    ModelRequest,
    ReasoningPiece,
    Role,
    TextPiece,
    TokenCount,
    Turn,
)


def ask(text: str, *, model: str = "stand-in/gpt", **settings: object) -> ModelRequest:
    """Return a request with one message of the user's."""
    return conversation(text, model=model, **settings)


def conversation(*texts: str, model: str = "stand-in/gpt", **settings: object) -> ModelRequest:
    """Return a request whose messages are the user's and the assistant's in turn."""
    roles = (Role.USER, Role.ASSISTANT)
    turns = [Turn(role=roles[number % 2], text=text) for number, text in enumerate(texts)]
    return ModelRequest(model=model, turns=turns, **settings)  # type: ignore[arg-type]


async def batches_of(chat: ChatModel, request: ModelRequest) -> list[Sequence[ModelDelta]]:
    """Call a model and return its batches."""
    return [batch async for batch in chat.stream(request)]


async def deltas_of(chat: ChatModel, request: ModelRequest) -> list[ModelDelta]:
    """Call a model and return its deltas."""
    return [delta for batch in await batches_of(chat, request) for delta in batch]


def text_of(deltas: Sequence[ModelDelta]) -> str:
    """Return the answer's text."""
    return "".join(delta.text for delta in deltas if isinstance(delta, TextPiece))


def reasoning_of(deltas: Sequence[ModelDelta]) -> str:
    """Return the reasoning."""
    return "".join(delta.text for delta in deltas if isinstance(delta, ReasoningPiece))


def count_of(deltas: Sequence[ModelDelta]) -> TokenCount | None:
    """Return the last count of tokens."""
    return next((delta for delta in reversed(deltas) if isinstance(delta, TokenCount)), None)
