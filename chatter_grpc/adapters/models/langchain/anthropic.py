"""Anthropic's messages, by `langchain-anthropic`."""

import importlib
import json
from typing import Any, Final, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.outputs import ChatGenerationChunk

from chatter_grpc.adapters.models.endpoint import EndpointConfig
from chatter_grpc.adapters.models.langchain.integrations import (
    ModelRefused,
    OverHttpx,
    make_model,
    reason_named,
    require,
)
from chatter_grpc.adapters.models.langchain.line import LineTransport
from chatter_grpc.adapters.models.strict_schema import can_be_strict
from chatter_grpc.core.models import FinishReason, ModelRequest

_CLIENT: Final = "_async_client"
_REASONS: Final = {
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "refusal": FinishReason.CONTENT_FILTER,
}


class Anthropic(OverHttpx):
    """Implements ``Integration``."""

    provider = "anthropic"

    def open_model(self, endpoint: EndpointConfig, name: str) -> BaseChatModel:
        """Make a model; see ``Integration.open_model``."""
        base_url = endpoint.base_url.rstrip("/")
        require(self.provider, "langchain_anthropic")
        model = make_model(
            "anthropic",
            name,
            api_key=endpoint.api_key,
            base_url=base_url,
            max_retries=0,
            default_request_timeout=None,
        )
        sdk = importlib.import_module("anthropic")
        # Taken on first use otherwise, in the middle of a call.
        importlib.import_module("anthropic.resources.messages")
        client = sdk.AsyncAnthropic(
            api_key=endpoint.api_key,
            base_url=base_url,
            max_retries=0,
            timeout=None,
            # It would record spans of its own, with texts where the environment says so, and tell Anthropic their ids.
            open_telemetry={"traces": {"enabled": False}, "propagation": False},
            http_client=sdk.DefaultAsyncHttpxClient(base_url=base_url, transport=LineTransport(), timeout=None),
        )
        # The integration has no argument for it; it makes its client on first use, and keeps it under this name.
        if not hasattr(type(model), _CLIENT):
            raise ModelRefused("this version of langchain-anthropic keeps its client elsewhere")
        model.__dict__[_CLIENT] = client
        return model

    def holds_to(self, schema: dict[str, Any]) -> bool:
        """Those of strict mode that the SDK can bring into its form are taken; see ``Integration.holds_to``."""
        return can_be_strict(schema) and _taken(schema) is not None

    def options(self, request: ModelRequest) -> dict[str, Any]:
        """Return the arguments of a call; see ``Integration.options``."""
        options: dict[str, Any] = {}
        if request.temperature is not None:
            options["temperature"] = request.temperature
        if request.max_tokens is not None:
            options["max_tokens"] = request.max_tokens
        if request.response_schema is not None:
            schema = _taken(json.loads(request.response_schema))
            options["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        return options

    def finish_reason(self, chunk: ChatGenerationChunk) -> FinishReason | None:
        """Return why the answer ended; see ``Integration.finish_reason``."""
        return reason_named(chunk.message.response_metadata.get("stop_reason"), _REASONS)


def _taken(schema: dict[str, Any]) -> dict[str, Any] | None:
    """Return a schema as the API takes it, bounds and patterns in words; ``None`` where the SDK knows no way."""
    sdk = importlib.import_module("anthropic")
    try:
        return cast(dict[str, Any], sdk.transform_schema(schema))
    except (ValueError, TypeError, AssertionError):
        return None
