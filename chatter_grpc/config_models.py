"""The settings of models and of the providers that serve them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from chatter_grpc.config_types import Count, Seconds


class Endpoint(BaseModel):
    """An OpenAI-compatible endpoint beside ``openai``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str
    api_key: SecretStr = SecretStr("")
    models: tuple[str, ...]


class SettingsOfModels(BaseSettings):
    """Which models there are, how they are reached, and how long they are waited for."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True)

    default_model: str = ""
    """The model where neither a call nor its conversation names one. Empty: the first one that is configured, or the
    built-in `chatter/offline`, which quotes and is no language model."""

    openai_api_key: SecretStr = SecretStr("")
    """The key for the provider `openai`. Empty: the provider is not offered, unless its base URL is another one."""

    openai_base_url: str = "https://api.openai.com/v1"
    """The address of the provider `openai`, or of anything that speaks like it."""

    openai_models: tuple[str, ...] = ("gpt-4o-mini", "gpt-4o")
    """The models of the provider `openai` that may be named, by its own names for them."""

    endpoints: Mapping[str, Endpoint] = Field(default_factory=dict)
    """Further OpenAI-compatible endpoints by provider name, as in
    `{"local": {"base_url": "http://127.0.0.1:8000/v1", "models": ["llama"]}}`; `api_key` where one is needed."""

    anthropic_api_key: SecretStr = SecretStr("")
    """The key for the provider `anthropic`, Anthropic, which needs the extra `chatter-grpc[anthropic]`."""

    anthropic_models: tuple[str, ...] = ()
    """The models of the provider `anthropic` that may be named, by its own names for them, as in
    `["claude-sonnet-4-6"]`."""

    anthropic_base_url: str = "https://api.anthropic.com"
    """The address of the provider `anthropic`, or of anything that speaks like it."""

    google_api_key: SecretStr = SecretStr("")
    """The key for the provider `google`, Google's Gemini API, which needs the extra `chatter-grpc[google]`."""

    google_models: tuple[str, ...] = ()
    """The models of the provider `google` that may be named, by its own names for them, as in
    `["gemini-2.5-flash"]`."""

    google_base_url: str = "https://generativelanguage.googleapis.com"
    """The address of the provider `google`, or of anything that speaks like it."""

    mistral_api_key: SecretStr = SecretStr("")
    """The key for the provider `mistral`, Mistral, which needs the extra `chatter-grpc[mistral]`."""

    mistral_models: tuple[str, ...] = ()
    """The models of the provider `mistral` that may be named, by its own names for them, as in
    `["mistral-small-latest"]`."""

    mistral_base_url: str = "https://api.mistral.ai/v1"
    """The address of the provider `mistral`, or of anything that speaks like it."""

    ollama_models: tuple[str, ...] = ()
    """The models of the provider `ollama` that may be named, by its own names for them, as in `["llama3.2"]`. It needs
    the extra `chatter-grpc[ollama]`; the models have to be there already, nothing is pulled."""

    ollama_base_url: str = "http://127.0.0.1:11434"
    """The address of the provider `ollama`."""

    ollama_api_key: SecretStr = SecretStr("")
    """Sent as a bearer token to `ollama`; empty for one that asks for none, as Ollama itself does."""

    aws_models: tuple[str, ...] = ()
    """The models of the provider `aws`, AWS Bedrock, that may be named, by their ids or those of inference profiles, as
    in `["eu.amazon.nova-lite-v1:0"]`. It needs the extra `chatter-grpc[aws]`."""

    aws_region: str = ""
    """The region of the provider `aws`, as in `eu-central-1`; has to be set where there are models."""

    aws_endpoint_url: str = ""
    """The address of the provider `aws`. Empty: Bedrock's own in the region."""

    aws_access_key_id: SecretStr = SecretStr("")
    """The access key for the provider `aws`. Empty: AWS's own chain of credentials (environment, profile, role)."""

    aws_secret_access_key: SecretStr = SecretStr("")
    """The secret of that access key."""

    aws_session_token: SecretStr = SecretStr("")
    """The session token of that access key, for temporary credentials."""

    models_file: Path | None = None
    """A JSON file of what is known of models, which goes before what is built in, entry by entry:
    `{"local/llama*": {"noted": "2026-11-22", "input_micros": 0, "output_micros": 0, "context_tokens": 8192,
    "max_output_tokens": 2048, "takes_images": false, "structured_output": true}}`. Prices are micro-dollars for a
    million tokens; what is left out is not known, or not so; `*` at the end serves all names that begin so."""

    fallbacks: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    """Models that are asked, in order, where one fails as its provider's fault (unreachable, rate limited, too slow, or
    broken off in mid-answer), as in `{"openai/gpt-4o": ["azure/gpt-4o", "local/llama"]}`. Only the list of the model
    that was asked for counts, not those of its fallbacks."""

    provider_connect_seconds: Seconds = 5.0
    """How long a connection to a provider is waited for."""

    provider_first_token_seconds: Seconds = 60.0
    """How long a model may take to begin its answer."""

    provider_idle_seconds: Seconds = 30.0
    """How long a model may be silent within its answer."""

    provider_attempts: Annotated[int, Field(ge=1, le=10)] = 3
    """How often a model is called until it begins to answer."""

    provider_connections: Count = 1_000
    """Connections to all providers together; more calls wait."""

    offline_token_milliseconds: Annotated[int, Field(ge=0, le=1_000)] = 15
    """The pause of the built-in offline model between two words."""
