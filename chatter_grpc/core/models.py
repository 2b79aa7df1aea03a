"""Chat models: what is asked of one, what it streams, and the port that a provider's adapter implements."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Role(StrEnum):
    """Who speaks in a message."""

    USER = "user"
    ASSISTANT = "assistant"


class FinishReason(StrEnum):
    """Why a message ended."""

    STOP = "stop"
    LENGTH = "length"
    CONTENT_FILTER = "content_filter"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A picture, encoded as its ``media_type`` says: ``image/png``, ``image/jpeg``, ``image/gif`` or ``image/webp``."""

    media_type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One message as a model is given it; images stand on a user's turn alone, and only for models that take them."""

    role: Role
    text: str
    images: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """One call of a model: ``model`` is ``<provider>/<name>``, the last of ``turns`` is the user's.

    ``response_schema`` is a JSON Schema, as JSON text, that the answer has to keep; ``None`` leaves the answer free.
    It is set only where the model's ``structured_output`` says that its provider has this; for the others it stands in
    ``system_prompt``.
    """

    model: str
    turns: Sequence[Turn]
    system_prompt: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    response_schema: str | None = None


@dataclass(frozen=True, slots=True)
class TextPiece:
    """The next piece of the answer's text; never empty, never half a surrogate pair."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningPiece:
    """The next piece of the model's reasoning, from models that show it; never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class TokenCount:
    """The tokens that the call took up to now, as the provider counts them; a later one replaces an earlier one."""

    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of the answer."""

    reason: FinishReason


ModelDelta = TextPiece | ReasoningPiece | TokenCount | Finished


class ChatModel(Protocol):
    """Streams answers of one provider's models."""

    @property
    def provider(self) -> str:
        """The provider's name, the part of a model's name before the slash."""
        ...

    def stream(self, request: ModelRequest) -> AsyncIterator[Sequence[ModelDelta]]:
        """Call the model once and yield its deltas, in batches as they come off the wire; no batch is empty.

        Exactly one ``Finished`` comes, after all text; a ``TokenCount`` may come before or after it. Leaving it out
        means that the provider reports none. The call is repeated on failures that may pass, but never after a first
        text or reasoning piece. The iterator is an async generator: ``aclose()`` closes the provider's connection
        before it returns, and reads nothing further.

        Raises ``ProviderUnavailable``, ``ProviderRateLimited``, ``ProviderRefused``, ``ProviderTimeout`` or
        ``ProviderStreamBroken``; nothing else leaves it but cancellation.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a model costs, in micro-dollars (millionths of a US dollar) for a million tokens."""

    input_micros: int
    output_micros: int

    def cost_micros(self, count: TokenCount) -> int:
        """Return what a call cost, rounded up to a whole micro-dollar."""
        total = count.input_tokens * self.input_micros + count.output_tokens * self.output_micros
        return -(-total // 1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """A model that the server offers; what may be ``None`` is so where it is not known.

    ``context_tokens`` bounds question and answer together, ``max_output_tokens`` the answer. ``structured_output`` says
    that the provider itself keeps an answer to a JSON Schema.
    """

    name: str
    provider: str
    price: Price | None = None
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    takes_images: bool = False
    structured_output: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedModel:
    """A model's description together with what streams it."""

    info: ModelInfo
    chat: ChatModel


class ModelCatalogue(Protocol):
    """The models that the configuration offers."""

    @property
    def default_model(self) -> str:
        """The name used where nothing else names one; always offered."""
        ...

    def list(self) -> Sequence[ModelInfo]:
        """Return all models that may be named, sorted by name."""
        ...

    def resolve(self, name: str) -> OfferedModel:
        """Return the model of that name; raises ``ModelUnknown`` where no provider offers it."""
        ...

    def fallbacks(self, name: str) -> Sequence[OfferedModel]:
        """Return the models that are asked, in this order, where the one of that name fails; often none."""
        ...
