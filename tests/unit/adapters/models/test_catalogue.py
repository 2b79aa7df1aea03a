"""The catalogue offers what the configuration lists, and refuses a configuration that cannot work."""

import pytest

from chatter_grpc.adapters.models.catalogue import ConfiguredModels, FallbacksRefused
from chatter_grpc.adapters.models.endpoint import EndpointConfig
from chatter_grpc.adapters.models.facts import ModelFacts
from chatter_grpc.adapters.models.scripted import ScriptedChat, answer_script
from chatter_grpc.core.errors import ModelUnknown
from chatter_grpc.core.models import ModelCatalogue, ModelInfo, Price
from tests.support.chats import KEY
from tests.support.deltas import ask, deltas_of, text_of
from tests.support.openai_standin import OpenAIStandIn

FACTS = ModelFacts.load()


def endpoint(provider: str = "openai", *models: str, **settings: object) -> EndpointConfig:
    defaults: dict[str, object] = {"base_url": "http://127.0.0.1:9/v1"}
    return EndpointConfig(provider=provider, models=models, **(defaults | settings))  # type: ignore[arg-type]


def catalogue(*endpoints: EndpointConfig, **settings: object) -> ConfiguredModels:
    return ConfiguredModels(endpoints, facts=FACTS, **settings)  # type: ignore[arg-type]


def names(models: ModelCatalogue) -> list[str]:
    return [info.name for info in models.list()]


def test_without_endpoints_there_is_the_built_in_model() -> None:
    models = catalogue()
    assert names(models) == ["chatter/offline"]
    assert models.default_model == "chatter/offline"
    info = models.resolve("chatter/offline").info
    assert (info.provider, info.price) == ("chatter", Price(input_micros=0, output_micros=0))


def test_exactly_what_is_listed_is_offered_in_the_order_of_names() -> None:
    models = catalogue(endpoint("openai", "gpt-4o", "gpt-5"), endpoint("local", "meta/llama"))
    assert names(models) == ["chatter/offline", "local/meta/llama", "openai/gpt-4o", "openai/gpt-5"]
    assert models.default_model == "openai/gpt-4o"


def test_a_model_comes_with_what_is_known_of_it() -> None:
    chat = ScriptedChat(answer_script("x"), provider="p")
    models = catalogue(endpoint("openai", "gpt-4o"), endpoint("local", "llama"), further={"p/m": chat})
    assert models.resolve("openai/gpt-4o").info == FACTS.info_of("openai/gpt-4o", "openai")
    assert models.resolve("openai/gpt-4o").info.takes_images
    assert models.resolve("local/llama").info == ModelInfo(name="local/llama", provider="local")
    assert models.resolve("p/m").info == ModelInfo(name="p/m", provider="p")


def test_a_model_has_the_fallbacks_that_are_listed_for_it_and_no_others() -> None:
    chains = {"a/m": ["b/m", "c/m"], "b/m": ["a/m"]}
    models = catalogue(endpoint("a", "m"), endpoint("b", "m"), endpoint("c", "m"), fallbacks=chains)
    for name, following in {**chains, "c/m": []}.items():
        assert [each.info.name for each in models.fallbacks(name)] == following
    assert catalogue(endpoint("a", "m")).fallbacks("a/m") == ()


@pytest.mark.parametrize(
    ("chains", "told"),
    [
        ({"a/m": ["x/m"]}, "x/m is not among"),
        ({"x/m": ["a/m"]}, "x/m is not among"),
        ({"a/m": ["b/m", "a/m"]}, "a/m is a fallback of its own"),
        ({"a/m": ["b/m", "b/m"]}, "twice"),
    ],
)
def test_fallbacks_that_cannot_work_are_refused(chains: dict[str, list[str]], told: str) -> None:
    with pytest.raises(FallbacksRefused, match=told):
        catalogue(endpoint("a", "m"), endpoint("b", "m"), fallbacks=chains)


@pytest.mark.parametrize("name", ["openai/gpt-5", "gpt-4o", "openai/", "", "openai/gpt-4o/", "OPENAI/gpt-4o"])
def test_a_name_that_is_not_offered_is_unknown(name: str) -> None:
    with pytest.raises(ModelUnknown) as caught:
        catalogue(endpoint("openai", "gpt-4o")).resolve(name)
    assert caught.value.metadata == {"model": name}


def test_the_default_may_be_any_that_is_offered() -> None:
    models = catalogue(endpoint("openai", "gpt-4o", "gpt-5"), default_model="openai/gpt-5")
    assert models.default_model == "openai/gpt-5"
    assert catalogue(endpoint("openai", "gpt-4o"), default_model="chatter/offline").default_model == "chatter/offline"


def test_a_default_that_is_not_offered_is_refused() -> None:
    with pytest.raises(ValueError, match="openai/gpt-9"):
        catalogue(endpoint("openai", "gpt-4o"), default_model="openai/gpt-9")


@pytest.mark.parametrize("provider", ["openai", "chatter"])
def test_a_provider_that_is_there_already_is_refused(provider: str) -> None:
    with pytest.raises(ValueError, match=provider):
        catalogue(endpoint("openai", "gpt-4o"), endpoint(provider, "other"))


def test_a_pool_without_connections_is_refused() -> None:
    with pytest.raises(ValueError, match="max_connections"):
        catalogue(max_connections=0)


async def test_further_models_stand_beside_the_configured_ones() -> None:
    chat = ScriptedChat(answer_script("Scripted."))
    models = catalogue(further={"scripted/one": chat})
    assert names(models) == ["chatter/offline", "scripted/one"]
    assert models.default_model == "scripted/one"
    assert text_of(await deltas_of(models.resolve("scripted/one").chat, ask("hello"))) == "Scripted."


@pytest.mark.parametrize("name", ["chatter/offline", "other/one"])
def test_a_further_model_has_a_name_of_its_own_provider(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        catalogue(further={name: ScriptedChat(answer_script("x"))})


async def test_the_built_in_model_names_the_others() -> None:
    models = catalogue(endpoint("local", "llama"), offline_seconds_per_token=0)
    said = text_of(await deltas_of(models.resolve("chatter/offline").chat, ask("hello")))
    assert "local/llama" in said


async def test_any_endpoint_is_called_by_its_own_name_and_closed_with_the_catalogue(provider: OpenAIStandIn) -> None:
    models = catalogue(endpoint("my-own", "gpt", base_url=provider.base_url + "/", api_key=KEY))
    offered = models.resolve("my-own/gpt")
    assert offered.chat.provider == "my-own"
    assert text_of(await deltas_of(offered.chat, ask("hello", model="my-own/gpt"))) == "You said: hello"
    await models.close()
    await provider.wait_until_closed(provider.calls[0])
    await models.close()
