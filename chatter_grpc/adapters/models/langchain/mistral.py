"""Mistral's chat completions, by `langchain-mistralai`."""

import importlib
import json
from typing import Any, Final

from langchain_core.language_models import BaseChatModel
from langchain_core.outputs import ChatGenerationChunk

from chatter_grpc.adapters.models.endpoint import EndpointConfig
from chatter_grpc.adapters.models.langchain.integrations import OverHttpx, make_model, reason_named, require
from chatter_grpc.adapters.models.langchain.line import LineTransport
from chatter_grpc.adapters.models.strict_schema import can_be_strict
from chatter_grpc.core.models import FinishReason, ModelRequest

_REASONS: Final = {"length": FinishReason.LENGTH, "model_length": FinishReason.LENGTH}


class Mistral(OverHttpx):
    """Implements ``Integration``."""

    provider = "mistral"

    def open_model(self, endpoint: EndpointConfig, name: str) -> BaseChatModel:
        """Make a model; see ``Integration.open_model``."""
        require(self.provider, "langchain_mistralai")
        model = make_model(
            "mistralai",
            name,
            api_key=endpoint.api_key,
            base_url=endpoint.base_url,
            max_retries=1,
        )
        httpx = importlib.import_module("httpx")
        # The model makes its own client with its own connections; this is the argument that replaces it, and it has
        # to be given whole. What is not asked for is not sent: the model has a temperature of its own.
        return model.model_copy(
            update={
                "async_client": httpx.AsyncClient(
                    base_url=endpoint.base_url,
                    headers={"Accept": "text/event-stream", "Authorization": f"Bearer {endpoint.api_key}"},
                    transport=LineTransport(),
                    timeout=None,
                ),
                "temperature": None,
            }
        )

    def options(self, request: ModelRequest) -> dict[str, Any]:
        """Return the arguments of a call; see ``Integration.options``."""
        options: dict[str, Any] = {}
        if request.temperature is not None:
            options["temperature"] = request.temperature
        if request.max_tokens is not None:
            options["max_tokens"] = request.max_tokens
        if request.response_schema is not None:
            schema = json.loads(request.response_schema)
            named = {"name": "answer", "schema": schema, "strict": can_be_strict(schema)}
            options["response_format"] = {"type": "json_schema", "json_schema": named}
        return options

    def finish_reason(self, chunk: ChatGenerationChunk) -> FinishReason | None:
        """Return why the answer ended; see ``Integration.finish_reason``."""
        name = chunk.message.response_metadata.get("finish_reason")
        # An answer that the provider gave up has not ended.
        return None if name == "error" else reason_named(name, _REASONS)
