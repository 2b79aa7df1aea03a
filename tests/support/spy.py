"""What no log may hold, planted wherever it could get into one, and a client that remembers what it was told."""

from dataclasses import dataclass, field
from typing import Any, Final

import grpc

from chatter_grpc._gen.chatter.v1.conversation_pb2 import ModelSettings
from tests.support.edge import Answer
from tests.support.served import Client, Stream

# What is known to the operator and to the providers; no client may ever see it.
OPERATORS: Final = {
    "provider key": "sk-planted-provider-key",
    "wrong provider key": "sk-planted-wrong-key",
    "access key's secret": "planted-secret-of-an-access-key",
    "database password": "planted-database-password",
    "redis password": "planted-redis-password",
    "server secret": "pl4nted.Server-Secr3t_of/this+test=0123456789",
    "provider's error": "planted-in-an-error-of-the-provider",
}
# What users send and are sent; it comes back to them alone, and never in an error.
USERS: Final = {
    "password": "planted-password-1",
    "wrong password": "planted-password-2",
    "new password": "planted-password-3",
    "email": "planted-mailbox@example.org",
    "display name": "planted-display-name",
    "title": "planted-title",
    "description": "planted-description",
    "metadata key": "planted-metadata-key",
    "metadata value": "planted-metadata-value",
    "system prompt": "planted-system-prompt",
    "prompt": "planted-prompt",
    "comment": "planted-comment",
    "image": "planted-in-an-image",
    "schema": "planted-in-a-schema",
    "answer": "planted-answer",
    "reasoning": "planted-reasoning",
    "token": "planted-token",
}


@dataclass(slots=True, kw_only=True)
class Spy:
    """A client that remembers what it was told when calls went wrong, and the tokens that it was given."""

    client: Client
    told: list[str] = field(default_factory=list)
    issued: list[str] = field(default_factory=list)
    called: set[str] = field(default_factory=set)

    async def call(self, name: str, /, request: Any = None, *, client: Client | None = None, **fields: Any) -> Answer:
        """Call a method with the session's credentials, or as another client."""
        return self.note(name, await (client or self.client).call(name, request, **fields))

    def note(self, name: str, answer: Answer) -> Answer:
        """Remember how a call ended."""
        self.called.add(name)
        details = answer.details if answer.code is not grpc.StatusCode.OK else []
        self.told.append(f"{name} {answer.message} {details} {answer.trailing}")
        return answer

    async def converse(self, conversation_id: str, model: str = "") -> Stream:
        """Send the prompt, and read to the end."""
        overrides = ModelSettings(model=model or None)
        stream = self.client.send(conversation_id, USERS["prompt"], overrides=overrides)
        self.note("SendMessage", await stream.to_end())
        if stream.fold.end == "failed":
            assert stream.fold.last is not None
            self.told.append(stream.fold.last.failed.message)
        return stream
