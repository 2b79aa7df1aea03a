"""Search: what may be found, and what the store that finds it has to promise."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from chatter_grpc.core.conversations import Conversation, ConversationStatus
from chatter_grpc.core.messages import Message
from chatter_grpc.core.models import Role
from chatter_grpc.core.pages import Page, PageRequest
from chatter_grpc.core.search_query import SearchQuery, Snippet


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFilter:
    """Which messages to search; ``None`` and empty mean all."""

    conversation_id: str = ""
    role: Role | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundMessage:
    """A message that was found, and where in it."""

    message_id: str
    conversation_id: str
    index: int
    role: Role
    created_at: datetime
    snippet: Snippet


class SearchStore(Protocol):
    """Finds what was stored, inside a transaction: exactly what ``SearchQuery.matches``, in the same order everywhere.

    Deleted messages, deleted conversations and their messages are invisible. What one transaction stores or deletes,
    the next one finds or does not.
    """

    async def conversations(
        self, owner_id: str, query: SearchQuery, status: ConversationStatus | None, page: PageRequest
    ) -> Page[Conversation]:
        """Return one page of an owner's conversations whose title and description match, in one statement.

        A phrase stands in one of the two. First come those whose title matches by itself; then the latest activity
        decides. A page ends before what it holds exceeds ``pages.MAX_BYTES``, but holds at least one.
        """
        ...

    async def messages(
        self, owner_id: str, query: SearchQuery, wanted: MessageFilter, page: PageRequest
    ) -> Page[Message]:
        """Return one page of an owner's messages whose texts match, the latest stored first, in one statement.

        A page ends before the texts on it exceed ``pages.MAX_BYTES``, but holds at least one message.
        """
        ...
