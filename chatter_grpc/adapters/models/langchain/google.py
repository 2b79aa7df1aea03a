"""Google's Gemini, by `langchain-google-genai`."""

import json
from typing import Any, Final

from langchain_core.language_models import BaseChatModel
from langchain_core.outputs import ChatGenerationChunk

from chatter_grpc.adapters.models.endpoint import EndpointConfig
from chatter_grpc.adapters.models.langchain.integrations import OverHttpx, make_model, reason_named, require
from chatter_grpc.adapters.models.langchain.line import LineTransport
from chatter_grpc.core.models import FinishReason, ModelRequest

_FILTERED: Final = ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE")
_REASONS: Final = {"MAX_TOKENS": FinishReason.LENGTH} | dict.fromkeys(_FILTERED, FinishReason.CONTENT_FILTER)


class Google(OverHttpx):
    """Implements ``Integration``, for the Gemini API with its keys; Vertex AI is another service."""

    provider = "google"

    def open_model(self, endpoint: EndpointConfig, name: str) -> BaseChatModel:
        """Make a model; see ``Integration.open_model``."""
        require(self.provider, "langchain_google_genai")
        return make_model(
            "google_genai",
            name,
            api_key=endpoint.api_key,
            base_url=endpoint.base_url,
            vertexai=False,
            temperature=None,
            max_retries=1,
            # The second saves loading certificates for a client that makes no connections.
            client_args={"transport": LineTransport(), "verify": False},
        )

    def options(self, request: ModelRequest) -> dict[str, Any]:
        """Return the arguments of a call; see ``Integration.options``."""
        options: dict[str, Any] = {}
        if request.temperature is not None:
            options["temperature"] = request.temperature
        if request.max_tokens is not None:
            options["max_output_tokens"] = request.max_tokens
        if request.response_schema is not None:
            options["response_mime_type"] = "application/json"
            options["response_json_schema"] = json.loads(request.response_schema)
        return options

    def finish_reason(self, chunk: ChatGenerationChunk) -> FinishReason | None:
        """Return why the answer ended; see ``Integration.finish_reason``."""
        feedback = chunk.message.response_metadata.get("prompt_feedback")
        if feedback and feedback.get("block_reason"):
            return FinishReason.CONTENT_FILTER
        return reason_named((chunk.generation_info or {}).get("finish_reason"), _REASONS)
