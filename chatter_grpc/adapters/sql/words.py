"""Keeps the words of conversations and messages, by which the database finds them.

What is indexed is a word behind the tag of its owner, so that an index holds each owner's words in a place of their
own: how long a search takes depends on what its owner has and not on what all have. From a row's ``words`` the database
itself makes what it indexes: triggers fill an FTS5 table beside it on SQLite, a generated column holds a ``tsvector``
on PostgreSQL. Both find the rows in which all words stand; phrases and exclusions are looked for in ``words``.
"""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, ForeignKey, TextClause, and_, bindparam, delete, insert, not_, text, true, update
from sqlalchemy.orm import InstrumentedAttribute, Mapped, mapped_column

from chatter_grpc.adapters.sql.columns import SERIAL
from chatter_grpc.adapters.sql.rows import Stored
from chatter_grpc.adapters.sql.statements import Prepared, Statements
from chatter_grpc.core.conversations import Conversation
from chatter_grpc.core.messages import Message
from chatter_grpc.core.search_query import Clause, SearchQuery
from chatter_grpc.core.search_words import words_of

TAG_BYTES: Final = 5


class MessageWordsRow(Stored):
    """The words of a message that is not deleted. ``id`` grows in the order in which messages are stored."""

    __tablename__ = "message_words"

    id: Mapped[int] = mapped_column(SERIAL, primary_key=True)
    message_id: Mapped[str] = mapped_column(ForeignKey("messages.id"), unique=True)
    owner_id: Mapped[str]
    conversation_id: Mapped[str]
    role: Mapped[str]
    size: Mapped[int]
    tag: Mapped[str]
    # The last one: SQLite reads a long row up to what it needs of it.
    words: Mapped[str]


class ConversationWordsRow(Stored):
    """The words of a conversation's title, and of title and description together, between which there is a gap."""

    __tablename__ = "conversation_words"

    id: Mapped[int] = mapped_column(SERIAL, primary_key=True)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"), unique=True)
    owner_id: Mapped[str]
    tag: Mapped[str]
    title: Mapped[str]
    words: Mapped[str]


# Whether all words of the parameter `terms`, as `index_query` writes it, stand in a row of words.
_HOLDS: Final = {
    "sqlite": "{kind}_words.id IN (SELECT rowid FROM {kind}_terms WHERE {kind}_terms MATCH :terms)",
    "postgresql": "{kind}_words.terms @@ CAST(CAST(:terms AS text) AS tsquery)",
}


def holds_terms(kind: str, owner_id: str, query: SearchQuery, dialect: str) -> TextClause:
    """Return the condition that all words of a query stand in a row of the words of ``message`` or ``conversation``."""
    return text(_HOLDS[dialect].format(kind=kind)).bindparams(terms=index_query(owner_id, query, dialect))


def tag_of(owner_id: str) -> str:
    """Return eight letters and digits that stand before each of an owner's words in an index.

    Two owners may, by a chance of one in a million millions, share a tag; the owner is a condition beside it.
    """
    digest = hashlib.blake2b(owner_id.encode(), digest_size=TAG_BYTES).digest()
    return base64.b32encode(digest).decode().lower()


def index_query(owner_id: str, query: SearchQuery, dialect: str) -> str:
    """Return what finds all words that a query wants of an owner's, whatever their order, in a database's own writing.

    Words are letters, digits and marks, so that nothing in them has to be quoted.
    """
    tag = tag_of(owner_id)
    terms: dict[tuple[str, bool], None] = {}
    for clause in query.wanted:
        for place, word in enumerate(clause.words, 1):
            terms[tag + word, clause.is_prefix and place == len(clause.words)] = None
    if dialect == "postgresql":
        return " & ".join(f"'{term}':*" if is_prefix else f"'{term}'" for term, is_prefix in terms)
    return " AND ".join(f'"{term}"*' if is_prefix else f'"{term}"' for term, is_prefix in terms)


def holds_rest(words: InstrumentedAttribute[str], query: SearchQuery) -> ColumnElement[bool]:
    """Return the condition of what an index does not know: phrases, and what must not be there."""
    phrases = (_holds(words, clause) for clause in query.wanted if len(clause.words) > 1)
    return and_(true(), *phrases, *(not_(_holds(words, clause)) for clause in query.unwanted))


def holds_wanted(words: InstrumentedAttribute[str], query: SearchQuery) -> ColumnElement[bool]:
    """Return the condition that all that a query wants stands among a text's words."""
    return and_(true(), *(_holds(words, clause) for clause in query.wanted))


def _holds(words: InstrumentedAttribute[str], clause: Clause) -> ColumnElement[bool]:
    # Words hold nothing that has a meaning in a pattern.
    return words.contains(f" {' '.join(clause.words)}{'' if clause.is_prefix else ' '}")


def written(words: Sequence[str]) -> str:
    """Return words as they are stored: a space before each and behind the last, nothing where there are none."""
    return f" {' '.join(words)} " if words else ""


_ADD_MESSAGE: Final = Prepared(insert(MessageWordsRow.table()))
_REMOVE_MESSAGE: Final = delete(MessageWordsRow.table()).where(
    MessageWordsRow.owner_id == bindparam("owner"), MessageWordsRow.message_id == bindparam("message")
)
_REMOVE_REPLACED: Final = text(
    "DELETE FROM message_words WHERE owner_id = :owner AND message_id IN (SELECT id FROM messages "
    "WHERE owner_id = :owner AND conversation_id = :conversation AND replaced_by_run_id = :run)"
)
_ADD_CONVERSATION: Final = insert(ConversationWordsRow.table())
_CHANGE_CONVERSATION: Final = (
    update(ConversationWordsRow.table())
    .where(
        ConversationWordsRow.owner_id == bindparam("owner"),
        ConversationWordsRow.conversation_id == bindparam("conversation"),
    )
    .values(title=bindparam("new_title"), words=bindparam("new_words"))
)


async def add_message_words(statements: Statements, messages: Iterable[Message], conversation_id: str) -> None:
    """Have messages found that have just been stored."""
    rows = [message_words(message, conversation_id) for message in messages]
    await statements.later(_ADD_MESSAGE, rows if len(rows) > 1 else rows[0])


async def remove_replaced_words(
    statements: Statements, owner_id: str, conversation_id: str, replaced_by_run_id: str
) -> None:
    """Have messages found no longer in whose place the answer of a run stands."""
    values = {"owner": owner_id, "conversation": conversation_id, "run": replaced_by_run_id}
    await statements.run(_REMOVE_REPLACED, values)


async def remove_message_words(statements: Statements, owner_id: str, message_id: str) -> None:
    """Have a message found no longer."""
    await statements.run(_REMOVE_MESSAGE, {"owner": owner_id, "message": message_id})


async def add_conversation_words(statements: Statements, conversation: Conversation) -> None:
    """Have a conversation found that has just been stored."""
    await statements.run(_ADD_CONVERSATION, conversation_words(conversation))


async def change_conversation_words(statements: Statements, conversation: Conversation) -> None:
    """Have a conversation found by what is said of it now."""
    row = conversation_words(conversation)
    values = {"owner": conversation.owner_id, "conversation": conversation.id}
    await statements.run(_CHANGE_CONVERSATION, {**values, "new_title": row["title"], "new_words": row["words"]})


def message_words(message: Message, conversation_id: str) -> dict[str, Any]:
    """Return the row of a message's words."""
    said = message.text
    return {
        "message_id": message.id,
        "owner_id": message.owner_id,
        "conversation_id": conversation_id,
        "role": message.role,
        "size": len(said.encode()),
        "tag": tag_of(message.owner_id),
        "words": written(words_of(said)),
    }


def conversation_words(conversation: Conversation) -> dict[str, Any]:
    """Return the row of a conversation's words."""
    title = written(words_of(conversation.title))
    return {
        "conversation_id": conversation.id,
        "owner_id": conversation.owner_id,
        "tag": tag_of(conversation.owner_id),
        "title": title,
        # A phrase does not reach from one into the other: there are two spaces between them.
        "words": title + written(words_of(conversation.description)),
    }
