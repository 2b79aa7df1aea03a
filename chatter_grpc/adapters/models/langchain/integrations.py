"""What Chatter has to know of each LangChain integration that it uses, and how one is loaded."""

import importlib
import importlib.util
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk

from chatter_grpc.adapters.models.endpoint import EndpointConfig
from chatter_grpc.core.models import FinishReason, ModelRequest


class ExtraMissing(Exception):
    """The packages of a provider are not installed; the message says so, with the command that installs them."""


class Integration(Protocol):
    """One provider's integration. Making models imports it, which takes seconds: not for the event loop."""

    @property
    def provider(self) -> str:
        """Chatter's name of the provider, and of the extra that installs it."""
        ...

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Names of what is raised for bytes that cannot be read, beside what Python raises itself."""
        ...

    def open_model(self, endpoint: EndpointConfig, name: str) -> BaseChatModel:
        """Make a model that sends over the current line and repeats nothing.

        Raises ``ExtraMissing``, and ``ValueError`` for what the integration does not take.
        """
        ...

    def holds_to(self, schema: dict[str, Any]) -> bool:
        """Whether the provider takes a JSON Schema to hold its answer to; else it is asked for in words."""
        ...

    def options(self, request: ModelRequest) -> dict[str, Any]:
        """Return the arguments of a call; what a request leaves open is left out."""
        ...

    def finish_reason(self, chunk: ChatGenerationChunk) -> FinishReason | None:
        """Return why the answer ended, where a chunk says so."""
        ...

    def chunks(
        self, model: BaseChatModel, messages: Sequence[BaseMessage], options: Mapping[str, Any]
    ) -> AsyncIterator[ChatGenerationChunk]:
        """Call the model over the current line and yield its chunks; may raise anything."""
        ...

    def close(self) -> None:
        """Give up what is held; calls under way have ended."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedProvider:
    """A provider that is called through its integration."""

    endpoint: EndpointConfig
    integration: Integration


class ModelRefused(ValueError):
    """A model cannot be had as it is configured; the message says why, and shows no key."""


def require(provider: str, *packages: str) -> None:
    """Raise ``ExtraMissing`` unless a provider's packages are installed."""
    for package in ("langchain", *packages):
        if importlib.util.find_spec(package) is None:
            raise ExtraMissing(f"the provider {provider} is not installed: pip install chatter-grpc[{provider}]")


def make_model(langchain_provider: str, name: str, **settings: Any) -> BaseChatModel:
    """Make a LangChain model; raises ``ValueError`` for settings that it does not take."""
    # By name and here: it takes seconds, and only those who use a provider have it.
    langchain = importlib.import_module("langchain.chat_models")
    return cast(BaseChatModel, langchain.init_chat_model(name, model_provider=langchain_provider, **settings))


class OverHttpx:
    """What the integrations share whose clients are those of httpx, which take our transport."""

    unreadable: tuple[str, ...] = ()

    def holds_to(self, schema: dict[str, Any]) -> bool:
        """Any schema is taken; see ``Integration.holds_to``."""
        return True

    def chunks(
        self, model: BaseChatModel, messages: Sequence[BaseMessage], options: Mapping[str, Any]
    ) -> AsyncIterator[ChatGenerationChunk]:
        """Stream a call; see ``Integration.chunks``.

        ``_astream`` is what integrations implement and LangChain documents for them. The public ``astream`` around it
        keeps all chunks, calls tracers that the environment configures, and takes up to five times as long.
        """
        return model._astream(list(messages), **options)  # noqa: SLF001 - see above

    def close(self) -> None:
        """Nothing is held."""


def reason_named(name: object, reasons: Mapping[str, FinishReason]) -> FinishReason | None:
    """Return the finish reason of a provider's name for it, of which the table has those that are more than a stop."""
    return reasons.get(str(name), FinishReason.STOP) if name else None
