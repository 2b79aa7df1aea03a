"""What the effects of fields are seen with: a signed-in user and the requests that the provider received."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support.provider import Provider
from tests.support.served import Account, Client, Served, Stream, administrator_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A server with a user, and the provider behind it; ``anyone`` calls without credentials."""

    server: Served
    anyone: Client
    account: Account
    provider: Provider
    _administrators: list[Client] = field(default_factory=list)

    @property
    def client(self) -> Client:
        """Calls with the user's session."""
        return self.account.client

    async def administrator(self) -> Client:
        """Calls with the session of an administrator, the same for all of a test."""
        if not self._administrators:
            self._administrators.append(await administrator_of(self.server, self.anyone))
        return self._administrators[0]

    async def asked(self, conversation_id: str, text: str = "Hello", **fields: Any) -> dict[str, Any]:
        """Send a message, and return what the provider was sent for it."""
        await self.answered(conversation_id, text, **fields)
        return self.provider.calls[-1].body

    async def answered(self, conversation_id: str, text: str = "Hello", **fields: Any) -> Stream:
        """Send a message, which is answered."""
        stream = await self.client.ask(conversation_id, text, **fields)
        assert stream.fold.end == "completed"
        return stream

    async def said_before(self, conversation_id: str, *texts: str) -> None:
        """Send messages that are answered with `You said: ...`."""
        for text in texts:
            await self.answered(conversation_id, text)

    async def updated(self, conversation_id: str, *paths: str, **values: Any) -> Any:
        """Update a conversation and return it as it is read then."""
        conversation = {"id": conversation_id, **values}
        await self.client.ok("UpdateConversation", conversation=conversation, update_mask={"paths": paths})
        return (await self.client.ok("GetConversation", conversation_id=conversation_id)).conversation

    async def listed(self, **fields: Any) -> list[str]:
        """The titles of the conversations of a list."""
        found = await self.client.ok("ListConversations", **fields)
        return [conversation.title for conversation in found.conversations]


Effect = Callable[[Site], Awaitable[None]]


def contents(body: dict[str, Any]) -> list[str]:
    """The texts of the messages that the provider was sent."""
    return [message["content"] for message in body["messages"]]
