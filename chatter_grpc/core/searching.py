"""Searching: what a caller may find among its conversations and messages."""

import asyncio

from chatter_grpc.core.callers import Caller
from chatter_grpc.core.conversations import Conversation, ConversationStatus
from chatter_grpc.core.messages import Message
from chatter_grpc.core.pages import Page, PageRequest
from chatter_grpc.core.search import FoundMessage, MessageFilter
from chatter_grpc.core.search_query import SearchQuery, parse_query, snippet_of
from chatter_grpc.core.storage import Storage


class Searches:
    """The use-cases that search."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def conversations(
        self, caller: Caller, query: str, status: ConversationStatus | None, page: PageRequest
    ) -> Page[Conversation]:
        """Return one page of the caller's conversations that a query finds; raises ``SearchQueryEmpty``."""
        parsed = parse_query(query)
        async with self._storage.read() as tx:
            return await tx.search.conversations(caller.owner_id, parsed, status, page)

    async def messages(
        self, caller: Caller, query: str, wanted: MessageFilter, page: PageRequest
    ) -> Page[FoundMessage]:
        """Return one page of the caller's messages that a query finds; raises ``SearchQueryEmpty``."""
        parsed = parse_query(query)
        async with self._storage.read() as tx:
            found = await tx.search.messages(caller.owner_id, parsed, wanted, page)
        # Reading long texts word by word takes too long for the loop.
        return await asyncio.to_thread(_with_snippets, found, parsed)


def _with_snippets(found: Page[Message], query: SearchQuery) -> Page[FoundMessage]:
    return Page(items=tuple(_found(message, query) for message in found.items), next=found.next)


def _found(message: Message, query: SearchQuery) -> FoundMessage:
    return FoundMessage(
        message_id=message.id,
        conversation_id=message.conversation_id,
        index=message.index,
        role=message.role,
        created_at=message.created_at,
        snippet=snippet_of(message.text, query),
    )
