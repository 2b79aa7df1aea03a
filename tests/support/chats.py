"""What the tests of chat models name in their fixtures."""

from collections.abc import Callable

from chatter_grpc.adapters.models.openai import OpenAIChat

KEY = "sk-planted-secret-key"
"""The key that the stand-in asks for; it may appear in no log line and no error."""

MakeChat = Callable[..., OpenAIChat]
"""Makes a chat with the stand-in; takes settings of ``EndpointConfig``."""


class Pauses:
    """Stands in for sleeping between attempts: returns at once and remembers."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
