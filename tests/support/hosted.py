"""The providers that are called through LangChain, each with its stand-in: what tests that run on all of them share."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from chatter_grpc.adapters.models.endpoint import EndpointConfig
from chatter_grpc.adapters.models.http import HttpPool
from chatter_grpc.adapters.models.langchain.anthropic import Anthropic
from chatter_grpc.adapters.models.langchain.aws import Aws, AwsAccess
from chatter_grpc.adapters.models.langchain.chat import LangChainChat
from chatter_grpc.adapters.models.langchain.google import Google
from chatter_grpc.adapters.models.langchain.integrations import Integration
from chatter_grpc.adapters.models.langchain.mistral import Mistral
from chatter_grpc.adapters.models.langchain.ollama import Ollama
from tests.support.anthropic_standin import AnthropicStandIn
from tests.support.aws_standin import AwsStandIn
from tests.support.chats import KEY, Pauses
from tests.support.google_standin import GoogleStandIn
from tests.support.mistral_standin import MistralStandIn
from tests.support.ollama_standin import OllamaStandIn
from tests.support.openai_plans import Fault
from tests.support.standin import StandIn

MakeHostedChat = Callable[..., Awaitable[LangChainChat]]
"""Makes a chat with a provider's stand-in; takes settings of ``EndpointConfig``."""

SECRET = "planted-secret-of-the-access-key"


@dataclass(frozen=True, kw_only=True)
class Hosted:
    """A provider: what stands in for it, what speaks to it, and a name of a model that it knows."""

    standin: Callable[..., StandIn]
    integration: Callable[[], Integration]
    model: str
    keeps_alive: bool = True
    """Whether the protocol knows of something that only says that the connection is alive."""

    @property
    def provider(self) -> str:
        """The provider's name."""
        return self.integration().provider

    def named(self, plan: str = "") -> str:
        """Return the full name of a model whose stand-in answers as a plan says: ``fault=cut&after=2``."""
        return f"{self.provider}/{self.model_for(plan)}"

    def model_for(self, plan: str = "") -> str:
        """Return that name without the provider's."""
        if not plan:
            return self.model
        if self.provider == "google":
            return f"{self.model}--{plan.replace('&', '--')}"
        return f"{self.model}?{plan}"

    async def chat(
        self,
        standin: StandIn,
        pool: HttpPool,
        *,
        plans: Sequence[str] = (),
        pauses: Pauses | None = None,
        **settings: object,
    ) -> LangChainChat:
        """Make a chat with a stand-in, which takes settings of ``EndpointConfig``.

        Its models are the plain one, and one for each of the plans. The provider's packages are imported in a thread.
        """
        defaults: dict[str, object] = {
            "provider": self.provider,
            "base_url": standin.base_url,
            "api_key": KEY,
            "models": (self.model, *(self.model_for(plan) for plan in plans)),
        }
        endpoint = EndpointConfig(**(defaults | settings))  # type: ignore[arg-type]
        return await asyncio.to_thread(
            lambda: LangChainChat(endpoint, self.integration(), pool, sleep=pauses or Pauses())
        )


def aws() -> Aws:
    """Return the integration of AWS, with an access key whose id is what its stand-in knows."""
    return Aws(AwsAccess(region="eu-central-1", access_key_id=KEY, secret_access_key=SECRET))


HOSTED = {
    "anthropic": Hosted(standin=AnthropicStandIn, integration=Anthropic, model="claude-sonnet-4-6"),
    "google": Hosted(standin=GoogleStandIn, integration=Google, model="gemini-2.5-flash", keeps_alive=False),
    "ollama": Hosted(standin=OllamaStandIn, integration=Ollama, model="llama3.2"),
    "mistral": Hosted(standin=MistralStandIn, integration=Mistral, model="mistral-small-latest"),
    "aws": Hosted(standin=AwsStandIn, integration=aws, model="amazon.nova-lite-v1:0", keeps_alive=False),
}

# The faults that a provider can have in mid-answer.
BREAKS = (Fault.CUT, Fault.END, Fault.GARBAGE, Fault.ERROR, Fault.UNFRAMED)
