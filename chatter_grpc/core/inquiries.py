"""What a model is asked: the turns and settings of a run, made to fit the model that is asked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from chatter_grpc.core.budgets import ModelCall
from chatter_grpc.core.conversations import ModelSettings
from chatter_grpc.core.errors import ContextExceeded, ImagesNotTaken
from chatter_grpc.core.models import ModelInfo, ModelRequest, Role, Turn
from chatter_grpc.core.usage import estimate_tokens

# What an image counts for, about as much as OpenAI and Anthropic count for one of a megapixel.
IMAGE_TOKENS: Final = 1_200
# What a turn takes beside its text: OpenAI's formats spend three or four tokens on who speaks.
TURN_TOKENS: Final = 4
# Without max_tokens, so much of the context window is left for the answer, unless the model's answers are shorter.
ANSWER_SHARE: Final = 1 / 3

_INSTRUCTION: Final = (
    "Answer with one JSON value that keeps the following JSON Schema, and with nothing else: no explanation before or "
    "after it, and no code fence around it."
)
_CORRECTION: Final = (
    "Your answer does not keep the JSON Schema: {fault}\n\n"
    "Answer again, with the corrected JSON value and nothing else."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """What an owner asks, before it is known of whom. From its last user's turn on, ``turns`` are never left out."""

    turns: Sequence[Turn]
    settings: ModelSettings
    response_schema: str = ""
    owner_id: str = ""


def request_for(info: ModelInfo, inquiry: Inquiry) -> ModelRequest:
    """Return a question as a model is to be asked it.

    - Images in remembered turns become words for a model that takes none.
    - ``max_tokens`` above the longest answer that the model can give means that one.
    - A schema goes to the provider where it keeps answers to one, else into the system prompt.
    - The oldest remembered turns are left out until the rest fits the context window, as far as it can be estimated.

    Raises ``ImagesNotTaken`` where the last turn has images that the model does not take, and ``ContextExceeded`` where
    that turn is too long even by itself.
    """
    begin = _last_question(inquiry.turns)
    if not info.takes_images and any(turn.images for turn in inquiry.turns[begin:]):
        raise ImagesNotTaken(model=info.name)
    settings, schema = inquiry.settings, inquiry.response_schema
    max_tokens = settings.max_tokens
    if max_tokens is not None and info.max_output_tokens is not None:
        max_tokens = min(max_tokens, info.max_output_tokens)
    prompt = settings.system_prompt or ""
    if schema and not info.structured_output:
        prompt = with_schema(prompt, schema)
    request = ModelRequest(
        model=info.name,
        turns=inquiry.turns if info.takes_images else tuple(map(in_words, inquiry.turns)),
        system_prompt=prompt,
        temperature=settings.temperature,
        max_tokens=max_tokens,
        response_schema=schema if schema and info.structured_output else None,
    )
    return _fitted(info, request, begin)


def with_schema(system_prompt: str, schema: str) -> str:
    """Return a system prompt that asks for a schema to be kept, for who is not held to it."""
    return "\n\n".join(filter(None, (system_prompt, _INSTRUCTION, schema)))


def corrected(info: ModelInfo, request: ModelRequest, answer: str, fault: str) -> ModelRequest:
    """Return the request by which a model is asked again whose answer does not keep the schema.

    The answer and what is wrong with it are added where they fit; else the same is asked once more.
    """
    turns = (
        Turn(role=Role.ASSISTANT, text=answer),
        Turn(role=Role.USER, text=_CORRECTION.format(fault=fault)),
    )
    again = replace(request, turns=(*request.turns, *turns))
    if not answer or (info.context_tokens is not None and _needed(info, again) > info.context_tokens):
        return request
    return again


def words_for(media_type: str) -> str:
    """Return the words that stand for an image that a model is not shown."""
    return f"[an image, {media_type}, which is not shown to you]"


def in_words(turn: Turn) -> Turn:
    """Return a turn in which words stand for the images."""
    if not turn.images:
        return turn
    words = (words_for(image.media_type) for image in turn.images)
    return replace(turn, text="\n".join(filter(None, (turn.text, *words))), images=())


def estimate_request(request: ModelRequest) -> int:
    """Estimate the tokens of what a model is sent."""
    asked = estimate_tokens(request.system_prompt) + estimate_tokens(request.response_schema or "")
    return asked + sum(estimate_turn(turn) for turn in request.turns)


def call_for(info: ModelInfo, request: ModelRequest, message_id: str = "") -> ModelCall:
    """Return a request as a call that is to be paid for.

    It asks for no more output than the model can give, as far as that is known.
    """
    input_tokens = estimate_request(request)
    bounds = [request.max_tokens, info.max_output_tokens]
    if info.context_tokens is not None:
        bounds.append(max(info.context_tokens - input_tokens - TURN_TOKENS * len(request.turns), 1))
    return ModelCall(
        message_id=message_id,
        model=info.name,
        input_tokens=input_tokens,
        max_tokens=min((bound for bound in bounds if bound is not None), default=None),
        price=info.price,
    )


def estimate_turn(turn: Turn) -> int:
    """Estimate the tokens of a turn's text and images."""
    return estimate_tokens(turn.text) + IMAGE_TOKENS * len(turn.images)


def _last_question(turns: Sequence[Turn]) -> int:
    """Return where the last turn of a user stands."""
    return max((place for place, turn in enumerate(turns) if turn.role is Role.USER), default=0)


def _fitted(info: ModelInfo, request: ModelRequest, begin: int) -> ModelRequest:
    if info.context_tokens is None:
        return request
    turns = request.turns
    needed, drop = _needed(info, request), 0
    while needed > info.context_tokens and drop < begin:
        needed -= estimate_turn(turns[drop]) + TURN_TOKENS
        drop += 1
    if needed > info.context_tokens:
        raise ContextExceeded(model=info.name, estimated_tokens=needed, context_tokens=info.context_tokens)
    return replace(request, turns=turns[drop:]) if drop else request


def _needed(info: ModelInfo, request: ModelRequest) -> int:
    """Estimate the tokens of a request with room for its answer."""
    asked = estimate_request(request) + TURN_TOKENS * len(request.turns)
    if request.max_tokens is not None:
        return asked + request.max_tokens
    share = int((info.context_tokens or 0) * ANSWER_SHARE)
    return asked + (share if info.max_output_tokens is None else min(share, info.max_output_tokens))
