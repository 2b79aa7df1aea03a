"""Accounts as clients have them, and tokens of theirs that are about to expire."""

import asyncio
import itertools
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from chatter_client import MemoryStore, Tokens
from chatter_client.aio import Client
from chatter_client.contract import auth_service_pb2, chat_service_pb2
from chatter_grpc.adapters.tokens.jwt import LEEWAY, JwtSigner
from chatter_grpc.adapters.tokens.sealing import Sealer
from chatter_grpc.adapters.tokens.signing_keys import KeyRing
from chatter_grpc.app.identity import AUDIENCE, ISSUER
from chatter_grpc.app.storage import keys_of, open_storage
from chatter_grpc.config import load_settings
from chatter_grpc.core.tokens import TokenKind
from tests.support.served import Served

PASSWORD: Final = "correct horse battery"
# Quoted by the offline model word by word, so that there is time to break something.
STORY: Final = (
    "Once upon a time a patient fox walked over seven hills and through nine rivers to see the sea, and when it stood "
    "on the shore at last, it sat down in the sand and counted the waves until the night came and the stars were out."
)
QUESTION: Final = f"{STORY}\n\nWhat did the patient fox do on the shore?"
# The same in three seconds and more.
LONG_QUESTION: Final = (
    f"The fox counted {' '.join(f'wave {n},' for n in range(100))} and slept.\n\nWhat did the fox count?"
)

_numbers = itertools.count(1)


@dataclass
class CountingStore(MemoryStore):
    """Counts how often tokens are kept."""

    def __init__(self, tokens: Tokens | None = None) -> None:
        super().__init__(tokens)
        self.saved = 0

    def save(self, tokens: Tokens | None) -> None:
        super().save(tokens)
        self.saved += 1


def registration() -> auth_service_pb2.RegisterRequest:
    """Return a request for an account of a new name."""
    name = f"reader-{next(_numbers)}"
    return auth_service_pb2.RegisterRequest(username=name, email=f"{name}@example.org", password=PASSWORD)


async def new_login(client: Client) -> str:
    """Make an account and return its name."""
    request = registration()
    await client.auth.Register(request)
    return request.username


async def new_tokens(client: Client) -> Tokens:
    """Make an account, log it in, and return its tokens."""
    request = auth_service_pb2.LoginRequest(login=await new_login(client), password=PASSWORD)
    return Tokens.read((await client.auth.Login(request)).tokens)


async def new_conversation(client: Client) -> str:
    """Make a conversation and return its id."""
    return (await client.chat.CreateConversation(chat_service_pb2.CreateConversationRequest())).conversation.id


async def stored_texts(client: Client, conversation_id: str) -> dict[str, str]:
    """Return what the server has stored of the assistant's messages, by their ids."""
    request = chat_service_pb2.ListMessagesRequest(conversation_id=conversation_id, page_size=1000)
    messages = (await client.chat.ListMessages(request)).messages
    return {message.id: "".join(part.text.text for part in message.parts) for message in messages if message.model}


async def aged(served: Served, tokens: Tokens, *, seconds: float) -> Tokens:
    """Return the tokens with an access token that the server takes for so long at most, and the client for longer."""
    names = ("data_dir", "database_url", "secret")
    settings = load_settings(**{name: served.settings[name] for name in names if name in served.settings})
    async with AsyncExitStack() as stack:
        storage = await open_storage(stack, settings)
        ring = KeyRing(storage, Sealer((await asyncio.to_thread(keys_of, settings)).sealing))
        await ring.open()
        signer = JwtSigner(ring, issuer=ISSUER, audience=AUDIENCE)
        claims = await signer.verify(tokens.access_token, TokenKind.ACCESS)
        expires_at = datetime.now(UTC) - LEEWAY + timedelta(seconds=seconds)
        token = await signer.sign(replace(claims, expires_at=expires_at), signer.kid)
    return replace(tokens, access_token=token)
