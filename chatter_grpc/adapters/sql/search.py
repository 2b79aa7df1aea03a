"""Finds conversations and messages by their words."""

from typing import Final

from sqlalchemy import case, select

from chatter_grpc.adapters.sql.conversations import ConversationRow, conversation_of
from chatter_grpc.adapters.sql.messages import MessageRow, message_of
from chatter_grpc.adapters.sql.paging import read_bounded_page
from chatter_grpc.adapters.sql.statements import Statements
from chatter_grpc.adapters.sql.words import (
    ConversationWordsRow,
    MessageWordsRow,
    holds_rest,
    holds_terms,
    holds_wanted,
)
from chatter_grpc.core.conversations import Conversation, ConversationStatus
from chatter_grpc.core.messages import Message
from chatter_grpc.core.pages import Page, PageRequest
from chatter_grpc.core.search import MessageFilter
from chatter_grpc.core.search_query import SearchQuery

# Without it PostgreSQL may walk through all messages, the latest first, until it has found enough of an owner's.
MATERIALIZED: Final = "MATERIALIZED"


class SqlSearch:
    """Searches in one transaction."""

    def __init__(self, statements: Statements) -> None:
        self._sql = statements

    async def conversations(
        self, owner_id: str, query: SearchQuery, status: ConversationStatus | None, page: PageRequest
    ) -> Page[Conversation]:
        """See ``SearchStore``."""
        row, words = ConversationRow, ConversationWordsRow
        title_matches = case((holds_wanted(words.title, query), 1), else_=0)
        matching = (
            select(words.conversation_id, title_matches.label("title_matches"))
            .where(
                holds_terms("conversation", owner_id, query, self._sql.dialect),
                words.owner_id == owner_id,
                holds_rest(words.words, query),
            )
            .cte("matching")
            .prefix_with(MATERIALIZED, dialect="postgresql")
        )
        found = (
            select(row.id, row.size)
            .join(matching, matching.c.conversation_id == row.id)
            .where(row.owner_id == owner_id, row.deleted_at.is_(None))
        )
        if status is not None:
            found = found.where(row.status == status.value)
        order = (matching.c.title_matches, row.active_at, row.id)
        return await read_bounded_page(self._sql, found, row.table(), order, page, conversation_of, descending=True)

    async def messages(
        self, owner_id: str, query: SearchQuery, wanted: MessageFilter, page: PageRequest
    ) -> Page[Message]:
        """See ``SearchStore``."""
        row, words = ConversationRow, MessageWordsRow
        texts = select(words.id, words.message_id, words.conversation_id, words.size).where(
            holds_terms("message", owner_id, query, self._sql.dialect),
            words.owner_id == owner_id,
            holds_rest(words.words, query),
        )
        if wanted.conversation_id:
            texts = texts.where(words.conversation_id == wanted.conversation_id)
        if wanted.role is not None:
            texts = texts.where(words.role == wanted.role.value)
        matching = texts.cte("matching").prefix_with(MATERIALIZED, dialect="postgresql")
        found = (
            select(matching.c.message_id.label("id"), matching.c.size)
            .join(row, row.id == matching.c.conversation_id)
            .where(row.owner_id == owner_id, row.deleted_at.is_(None))
        )
        order = (matching.c.id,)
        return await read_bounded_page(self._sql, found, MessageRow.table(), order, page, message_of, descending=True)
