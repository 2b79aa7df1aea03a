"""The providers that are called through LangChain, as the settings configure them."""

from collections.abc import Callable, Iterator
from typing import Final

from pydantic import SecretStr

from chatter_grpc.adapters.models.endpoint import EndpointConfig
from chatter_grpc.adapters.models.langchain.anthropic import Anthropic
from chatter_grpc.adapters.models.langchain.aws import Aws, AwsAccess
from chatter_grpc.adapters.models.langchain.google import Google
from chatter_grpc.adapters.models.langchain.integrations import HostedProvider, Integration
from chatter_grpc.adapters.models.langchain.mistral import Mistral
from chatter_grpc.adapters.models.langchain.ollama import Ollama
from chatter_grpc.config import PREFIX, ConfigurationFault, Settings


def hosted_providers(settings: Settings) -> list[HostedProvider]:
    """Return the providers that have models; raises ``ConfigurationFault`` and ``ValueError``."""
    return [provider for build in _BUILDERS for provider in build(settings)]


def endpoint_of(
    settings: Settings, provider: str, base_url: str, api_key: str, models: tuple[str, ...]
) -> EndpointConfig:
    """Return where a provider is, with the patience that the settings have with all of them."""
    return EndpointConfig(
        provider=provider,
        base_url=base_url,
        api_key=api_key,
        models=models,
        connect_seconds=settings.provider_connect_seconds,
        first_token_seconds=settings.provider_first_token_seconds,
        idle_seconds=settings.provider_idle_seconds,
        max_attempts=settings.provider_attempts,
    )


def _anthropic(settings: Settings) -> Iterator[HostedProvider]:
    models, key = settings.anthropic_models, settings.anthropic_api_key
    yield from _with_key(settings, Anthropic(), settings.anthropic_base_url, models, key)


def _google(settings: Settings) -> Iterator[HostedProvider]:
    models, key = settings.google_models, settings.google_api_key
    yield from _with_key(settings, Google(), settings.google_base_url, models, key)


def _mistral(settings: Settings) -> Iterator[HostedProvider]:
    models, key = settings.mistral_models, settings.mistral_api_key
    yield from _with_key(settings, Mistral(), settings.mistral_base_url, models, key)


def _with_key(
    settings: Settings, integration: Integration, base_url: str, models: tuple[str, ...], key: SecretStr
) -> Iterator[HostedProvider]:
    """Yield a provider that asks for a key, which is nothing without models, as they are without it."""
    provider, api_key = integration.provider, key.get_secret_value()
    if models and not api_key:
        raise ConfigurationFault(f"{_setting(provider, 'API_KEY')}: the models of {provider} need a key")
    if api_key and not models:
        raise ConfigurationFault(f"{_setting(provider, 'MODELS')}: name the models that the key is for")
    if models:
        yield HostedProvider(
            endpoint=endpoint_of(settings, provider, base_url, api_key, models), integration=integration
        )


def _ollama(settings: Settings) -> Iterator[HostedProvider]:
    key = settings.ollama_api_key.get_secret_value()
    if settings.ollama_models:
        endpoint = endpoint_of(settings, Ollama.provider, settings.ollama_base_url, key, settings.ollama_models)
        yield HostedProvider(endpoint=endpoint, integration=Ollama())


def _aws(settings: Settings) -> Iterator[HostedProvider]:
    if not settings.aws_models:
        return
    region = settings.aws_region
    if not region:
        raise ConfigurationFault(f"{_setting(Aws.provider, 'REGION')}: the models of aws need a region")
    access = AwsAccess(
        region=region,
        access_key_id=settings.aws_access_key_id.get_secret_value(),
        secret_access_key=settings.aws_secret_access_key.get_secret_value(),
        session_token=settings.aws_session_token.get_secret_value(),
    )
    base_url = settings.aws_endpoint_url or f"https://bedrock-runtime.{region}.amazonaws.com"
    yield HostedProvider(
        endpoint=endpoint_of(settings, Aws.provider, base_url, "", settings.aws_models), integration=Aws(access)
    )


def _setting(provider: str, name: str) -> str:
    return f"{PREFIX}{provider.upper()}_{name}"


_BUILDERS: Final[tuple[Callable[[Settings], Iterator[HostedProvider]], ...]] = (
    _anthropic,
    _google,
    _mistral,
    _ollama,
    _aws,
)
