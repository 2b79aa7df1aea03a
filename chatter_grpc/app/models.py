"""Builds the models that the settings offer."""

import asyncio
from contextlib import AsyncExitStack

from chatter_grpc.adapters.models.catalogue import ConfiguredModels, FallbacksRefused
from chatter_grpc.adapters.models.facts import ModelFacts
from chatter_grpc.adapters.models.langchain.integrations import ExtraMissing
from chatter_grpc.adapters.schemas.checker import SchemaChecker
from chatter_grpc.app.providers import endpoint_of, hosted_providers
from chatter_grpc.config import ConfigurationFault, Settings
from chatter_grpc.core.asking import Asking


def _models(settings: Settings) -> ConfiguredModels:
    """Build the models. Blocks: reads what is known of models, and imports the providers that are configured."""
    endpoints = []
    if settings.openai_api_key.get_secret_value() or "openai_base_url" in settings.model_fields_set:
        endpoints.append(
            endpoint_of(
                settings,
                "openai",
                settings.openai_base_url,
                settings.openai_api_key.get_secret_value(),
                settings.openai_models,
            )
        )
    for name, endpoint in settings.endpoints.items():
        endpoints.append(
            endpoint_of(settings, name, endpoint.base_url, endpoint.api_key.get_secret_value(), endpoint.models)
        )
    return ConfiguredModels(
        endpoints,
        facts=_facts(settings),
        hosted=hosted_providers(settings),
        fallbacks=settings.fallbacks,
        default_model=settings.default_model or None,
        max_connections=settings.provider_connections,
        offline_seconds_per_token=settings.offline_token_milliseconds / 1000,
    )


def _facts(settings: Settings) -> ModelFacts:
    try:
        return ModelFacts.load(settings.models_file)
    except (ValueError, OSError) as error:
        raise ConfigurationFault(f"CHATTER_MODELS_FILE: {error}") from error


async def open_models(stack: AsyncExitStack, settings: Settings) -> ConfiguredModels:
    """Open the models; raises ``ConfigurationFault`` where the settings contradict one another."""
    try:
        models = await asyncio.to_thread(_models, settings)
    except ValueError as error:
        settings_of_models = "CHATTER_DEFAULT_MODEL, CHATTER_ENDPOINTS or the settings of a provider"
        raise ConfigurationFault(f"{settings_of_models}: {error}") from error
    except ExtraMissing as error:
        raise ConfigurationFault(str(error)) from error
    except FallbacksRefused as error:
        raise ConfigurationFault(f"CHATTER_FALLBACKS: {error}") from error
    stack.push_async_callback(models.close)
    return models


async def open_asking(stack: AsyncExitStack, models: ConfiguredModels) -> Asking:
    """Open what asks the models; the processes that check schemas start with the first one."""
    schemas = SchemaChecker()
    stack.push_async_callback(schemas.close)
    return Asking(models, schemas)
