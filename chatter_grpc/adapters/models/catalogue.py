"""The models that a configuration offers."""

from collections.abc import Mapping, Sequence

from chatter_grpc.adapters.models.endpoint import EndpointConfig
from chatter_grpc.adapters.models.facts import ModelFacts
from chatter_grpc.adapters.models.http import HttpPool
from chatter_grpc.adapters.models.langchain.chat import LangChainChat
from chatter_grpc.adapters.models.langchain.integrations import HostedProvider
from chatter_grpc.adapters.models.offline import OFFLINE_MODEL, OfflineChat
from chatter_grpc.adapters.models.openai import OpenAIChat
from chatter_grpc.core.errors import ModelUnknown
from chatter_grpc.core.models import ChatModel, ModelInfo, OfferedModel, Price

_FREE = Price(input_micros=0, output_micros=0)


class FallbacksRefused(Exception):
    """The fallbacks name a model that is not offered, or a model as its own fallback, or one twice in a list."""


class ConfiguredModels:
    """Implements ``ModelCatalogue``: exactly the models that the providers list, and the built-in one.

    The default is the model named as such, else the first one listed, else ``chatter/offline``. Raises ``ValueError``
    where the default is not offered, or where two providers have one name or that of the built-in model's, or one of
    their models cannot be made, ``FallbacksRefused``, and ``ExtraMissing`` for a hosted provider that is not installed.
    Hosted providers are imported, which takes seconds: not for the event loop.
    """

    def __init__(
        self,
        endpoints: Sequence[EndpointConfig],
        *,
        facts: ModelFacts,
        hosted: Sequence[HostedProvider] = (),
        default_model: str | None = None,
        max_connections: int = 1000,
        offline_seconds_per_token: float = 0.012,
        further: Mapping[str, ChatModel] | None = None,
        fallbacks: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Take the endpoints and what they share; ``further`` are chats by the full names of what they offer.

        ``fallbacks`` are models, by the name of the one that they are asked in place of where it fails.
        """
        self._pool = HttpPool(max_connections=max_connections)
        self._models: dict[str, OfferedModel] = {}
        configured = [*endpoints, *(provider.endpoint for provider in hosted)]
        listed = [f"{endpoint.provider}/{name}" for endpoint in configured for name in endpoint.models]
        self._offline = OfflineChat(
            seconds_per_token=offline_seconds_per_token, language_models=[*listed, *(further or {})]
        )
        self._offer(self._offline, ModelInfo(name=OFFLINE_MODEL, provider=self._offline.provider, price=_FREE))
        providers = {self._offline.provider}
        for endpoint in configured:
            if endpoint.provider in providers:
                raise ValueError(f"the provider {endpoint.provider} is there already")
            providers.add(endpoint.provider)
        self._hosted = [LangChainChat(provider.endpoint, provider.integration, self._pool) for provider in hosted]
        chats: list[ChatModel] = [*(OpenAIChat(endpoint, self._pool) for endpoint in endpoints), *self._hosted]
        for endpoint, chat in zip(configured, chats, strict=True):
            for model in endpoint.models:
                name = f"{endpoint.provider}/{model}"
                self._offer(chat, facts.info_of(name, chat.provider))
        for name, further_chat in (further or {}).items():
            self._offer(further_chat, facts.info_of(name, further_chat.provider))
        self._default = default_model or next(iter([*listed, *(further or {})]), OFFLINE_MODEL)
        if self._default not in self._models:
            raise ValueError(f"the default model {self._default} is not among those offered")
        self._fallbacks = {name: self._chain(name, following) for name, following in (fallbacks or {}).items()}

    @property
    def default_model(self) -> str:
        """The name used where nothing else names one; always offered."""
        return self._default

    def list(self) -> Sequence[ModelInfo]:
        """Return all models that may be named, sorted by name."""
        return [self._models[name].info for name in sorted(self._models)]

    def resolve(self, name: str) -> OfferedModel:
        """Return the model of that name; raises ``ModelUnknown`` where no provider offers it."""
        try:
            return self._models[name]
        except KeyError:
            raise ModelUnknown(model=name) from None

    def fallbacks(self, name: str) -> Sequence[OfferedModel]:
        """Return the models that are asked, in this order, where the one of that name fails; often none."""
        return self._fallbacks.get(name, ())

    async def close(self) -> None:
        """Close the connections to all providers; calls under way end as broken."""
        self._offline.close()
        await self._pool.close()
        for chat in self._hosted:
            chat.close()

    def _chain(self, name: str, following: Sequence[str]) -> Sequence[OfferedModel]:
        """Return the fallbacks of a model, each of which is asked once at most; raises ``FallbacksRefused``."""
        for each in (name, *following):
            if each not in self._models:
                raise FallbacksRefused(f"the model {each} is not among those offered")
        if name in following:
            raise FallbacksRefused(f"the model {name} is a fallback of its own")
        if len(set(following)) != len(following):
            raise FallbacksRefused(f"the model {name} has a fallback twice")
        return [self._models[each] for each in following]

    def _offer(self, chat: ChatModel, info: ModelInfo) -> None:
        name = info.name
        if name in self._models:
            raise ValueError(f"the model {name} is there already")
        if not name.startswith(f"{chat.provider}/"):
            raise ValueError(f"the model {name} does not begin with its provider's name {chat.provider}")
        self._models[name] = OfferedModel(info=info, chat=chat)
