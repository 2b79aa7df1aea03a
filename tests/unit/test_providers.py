"""The providers that the settings configure: what each is called with, and what is refused at start."""

import importlib.util
from contextlib import AsyncExitStack
from importlib.machinery import ModuleSpec
from typing import Any

import pytest

from chatter_grpc.app.models import open_models
from chatter_grpc.app.providers import hosted_providers
from chatter_grpc.config import ConfigurationFault, Settings

KEY = "sk-planted-key"
CONFIGURED: dict[str, dict[str, Any]] = {
    "anthropic": {"anthropic_api_key": KEY, "anthropic_models": ("claude-sonnet-4-6",)},
    "google": {"google_api_key": KEY, "google_models": ("gemini-2.5-flash",)},
    "mistral": {"mistral_api_key": KEY, "mistral_models": ("mistral-small-latest",)},
    "ollama": {"ollama_models": ("llama3.2", "gemma3:4b")},
    "aws": {"aws_models": ("eu.amazon.nova-lite-v1:0",), "aws_region": "eu-west-1"},
}
DEFAULTS = {
    "anthropic": "https://api.anthropic.com",
    "google": "https://generativelanguage.googleapis.com",
    "mistral": "https://api.mistral.ai/v1",
    "ollama": "http://127.0.0.1:11434",
    "aws": "https://bedrock-runtime.eu-west-1.amazonaws.com",
}


@pytest.fixture(autouse=True)
def _no_machine_on_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the chain of credentials from asking the network for those of the machine."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def settings(**given: Any) -> Settings:
    return Settings(**given)


async def refusal(**given: Any) -> str:
    """Return why a server with these settings does not start."""
    async with AsyncExitStack() as stack:
        with pytest.raises(ConfigurationFault) as caught:
            await open_models(stack, settings(**given))
    assert KEY not in str(caught.value)
    return str(caught.value)


def test_without_models_there_are_no_providers() -> None:
    assert hosted_providers(settings()) == []


@pytest.mark.parametrize("name", CONFIGURED)
def test_a_provider_is_called_at_its_own_address_with_the_patience_of_all(name: str) -> None:
    patience = {"provider_connect_seconds": 1, "provider_first_token_seconds": 2, "provider_idle_seconds": 3}
    (provider,) = hosted_providers(settings(**CONFIGURED[name], **patience, provider_attempts=4))
    endpoint = provider.endpoint
    assert (endpoint.provider, provider.integration.provider) == (name, name)
    assert (endpoint.base_url, endpoint.models) == (DEFAULTS[name], CONFIGURED[name][f"{name}_models"])
    assert (endpoint.connect_seconds, endpoint.first_token_seconds, endpoint.idle_seconds) == (1, 2, 3)
    assert endpoint.max_attempts == 4
    assert endpoint.api_key == CONFIGURED[name].get(f"{name}_api_key", "")


@pytest.mark.parametrize("name", CONFIGURED)
def test_its_address_may_be_another_one(name: str) -> None:
    address = {"aws_endpoint_url" if name == "aws" else f"{name}_base_url": "http://127.0.0.1:9/there"}
    (provider,) = hosted_providers(settings(**CONFIGURED[name], **address))
    assert provider.endpoint.base_url == "http://127.0.0.1:9/there"


async def test_all_of_them_are_offered_with_what_is_known_of_their_models() -> None:
    given: dict[str, Any] = {}
    for each in CONFIGURED.values():
        given |= each
    async with AsyncExitStack() as stack:
        models = await open_models(stack, settings(**given))
        assert [info.name for info in models.list()] == [
            "anthropic/claude-sonnet-4-6",
            "aws/eu.amazon.nova-lite-v1:0",
            "chatter/offline",
            "google/gemini-2.5-flash",
            "mistral/mistral-small-latest",
            "ollama/gemma3:4b",
            "ollama/llama3.2",
        ]
        assert models.resolve("ollama/gemma3:4b").info.takes_images
        assert models.resolve("google/gemini-2.5-flash").info.structured_output
        assert models.default_model == "anthropic/claude-sonnet-4-6"


@pytest.mark.parametrize("name", CONFIGURED)
async def test_a_provider_that_is_not_installed_is_refused_with_the_command_that_installs_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec

    def find_none_of_langchain(module: str, package: str | None = None) -> ModuleSpec | None:
        return None if module.startswith("langchain_") else find(module, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_none_of_langchain)
    said = await refusal(**CONFIGURED[name])
    assert said == f"the provider {name} is not installed: pip install chatter-grpc[{name}]"


@pytest.mark.parametrize("name", ["anthropic", "google", "mistral"])
async def test_models_need_a_key_and_a_key_needs_models(name: str) -> None:
    models, key = {f"{name}_models": ("any",)}, {f"{name}_api_key": KEY}
    assert (await refusal(**models)).startswith(f"CHATTER_{name.upper()}_API_KEY: ")
    assert (await refusal(**key)).startswith(f"CHATTER_{name.upper()}_MODELS: ")


async def test_aws_needs_a_region_and_whole_keys() -> None:
    aws = CONFIGURED["aws"]
    assert (await refusal(aws_models=("amazon.nova-lite-v1:0",))).startswith("CHATTER_AWS_REGION: ")
    assert "belong together" in await refusal(**aws, aws_access_key_id=KEY)
    assert "belong together" in await refusal(**aws, aws_secret_access_key=KEY)
    assert "session token" in await refusal(**aws, aws_session_token=KEY)
    arn = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/a1"
    assert "ARN" in await refusal(aws_models=(arn,), aws_region="eu-west-1")


async def test_an_address_that_cannot_be_one_is_refused() -> None:
    ollama = CONFIGURED["ollama"]
    assert "base_url" in await refusal(**ollama, ollama_base_url="localhost:11434")
    assert "credentials" in await refusal(**ollama, ollama_base_url="http://me:secret@localhost:11434")


@pytest.mark.platform("T7")
async def test_what_an_integration_says_of_its_arguments_is_not_told() -> None:
    """T7: it quotes them, as it does here with a model that has no provider in its id."""
    key = {"aws_access_key_id": "AKIA", "aws_secret_access_key": KEY}
    said = await refusal(aws_models=("model",), aws_region="no region", aws_endpoint_url="http://127.0.0.1:9", **key)
    assert said.endswith("provider aws: the model model cannot be made (ValidationError)")


async def test_a_provider_may_not_be_there_twice() -> None:
    endpoints = {"ollama": {"base_url": "http://127.0.0.1:9/v1", "models": ["llama"]}}
    assert "ollama is there already" in await refusal(**CONFIGURED["ollama"], endpoints=endpoints)
