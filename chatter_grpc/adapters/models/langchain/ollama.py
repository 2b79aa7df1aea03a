"""Ollama's own chat protocol, by `langchain-ollama`."""

import json
from typing import Any, Final

from langchain_core.language_models import BaseChatModel
from langchain_core.outputs import ChatGenerationChunk

from chatter_grpc.adapters.models.endpoint import EndpointConfig
from chatter_grpc.adapters.models.langchain.integrations import OverHttpx, make_model, reason_named, require
from chatter_grpc.adapters.models.langchain.line import LineTransport
from chatter_grpc.core.models import FinishReason, ModelRequest

_REASONS: Final = {"length": FinishReason.LENGTH}


class Ollama(OverHttpx):
    """Implements ``Integration``."""

    provider = "ollama"

    def open_model(self, endpoint: EndpointConfig, name: str) -> BaseChatModel:
        """Make a model; see ``Integration.open_model``."""
        headers = {"Authorization": f"Bearer {endpoint.api_key}"} if endpoint.api_key else {}
        require(self.provider, "langchain_ollama")
        return make_model(
            "ollama",
            name,
            base_url=endpoint.base_url,
            client_kwargs={"headers": headers, "transport": LineTransport(), "timeout": None},
        )

    def options(self, request: ModelRequest) -> dict[str, Any]:
        """Return the arguments of a call; see ``Integration.options``."""
        sampling: dict[str, Any] = {}
        if request.temperature is not None:
            sampling["temperature"] = request.temperature
        if request.max_tokens is not None:
            sampling["num_predict"] = request.max_tokens
        # The first takes reasoning out of an answer, the second leaves it to the model whether there is any: asking for
        # it is an error with most models.
        options: dict[str, Any] = {"options": sampling, "reasoning": True, "think": None}
        if request.response_schema is not None:
            options["format"] = json.loads(request.response_schema)
        return options

    def finish_reason(self, chunk: ChatGenerationChunk) -> FinishReason | None:
        """Return why the answer ended; see ``Integration.finish_reason``."""
        info = chunk.generation_info
        # Older servers end without a reason.
        return reason_named(info.get("done_reason") or info.get("done"), _REASONS) if info else None
