"""Keeps conversations."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ForeignKey,
    Index,
    Row,
    Update,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.orm import Mapped, mapped_column

from chatter_grpc.adapters.sql.columns import AnyText, Document
from chatter_grpc.adapters.sql.paging import Order, read_bounded_page
from chatter_grpc.adapters.sql.rows import Stored, Used, usage_of_row, usage_values
from chatter_grpc.adapters.sql.statements import Prepared, Statements
from chatter_grpc.adapters.sql.words import add_conversation_words, change_conversation_words
from chatter_grpc.core.conversations import (
    Conversation,
    ConversationFilter,
    ConversationOrder,
    ConversationStatus,
    Memory,
    ModelSettings,
)
from chatter_grpc.core.errors import ConversationNotFound
from chatter_grpc.core.pages import Page, PageRequest

_TO_PURGE: Final = text("purge_at IS NOT NULL")


class ConversationRow(Used, Stored):
    """A conversation. ``last_index`` is the index of its latest message, deleted or not.

    ``size`` is how many bytes what callers may write into it has, in UTF-8.
    """

    __tablename__ = "conversations"
    __table_args__ = (
        Index(None, "owner_id", "active_at", "id"),
        Index(None, "owner_id", "created_at", "id"),
        Index(None, "owner_id", "title", "created_at", "id"),
        Index("ix_conversations_purge_at", "purge_at", sqlite_where=_TO_PURGE, postgresql_where=_TO_PURGE),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    owner_id: Mapped[str] = mapped_column(ForeignKey("owners.id"))
    title: Mapped[str]
    description: Mapped[str]
    status: Mapped[str]
    settings: Mapped[ModelSettings] = mapped_column(Document(ModelSettings))
    memory: Mapped[Memory] = mapped_column(Document(Memory))
    tags: Mapped[tuple[str, ...]] = mapped_column(Document(tuple[str, ...]))
    metadata_: Mapped[Mapping[str, str]] = mapped_column("metadata", Document(dict[str, str]))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    version: Mapped[int]
    message_count: Mapped[int]
    last_index: Mapped[int]
    last_message_at: Mapped[datetime | None]
    active_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]
    purge_at: Mapped[datetime | None]
    size: Mapped[int] = mapped_column(server_default="0")


class ConversationTagRow(Stored):
    """Finds conversations by tag. What tags one has, and in what order, its own row says."""

    __tablename__ = "conversation_tags"
    __table_args__ = (Index(None, "owner_id", "tag", "conversation_id"),)

    owner_id: Mapped[str] = mapped_column(primary_key=True)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"), primary_key=True, index=True)
    tag: Mapped[str] = mapped_column(primary_key=True)


_ORDERS: Final[Mapping[ConversationOrder, tuple[Order, bool]]] = {
    ConversationOrder.ACTIVITY: ((ConversationRow.active_at, ConversationRow.id), True),
    ConversationOrder.CREATED: ((ConversationRow.created_at, ConversationRow.id), True),
    ConversationOrder.TITLE: ((ConversationRow.title, ConversationRow.created_at, ConversationRow.id), False),
}
_THIS_OR_DELETED: Final = (
    ConversationRow.id == bindparam("conversation"),
    ConversationRow.owner_id == bindparam("owner"),
)
_THIS: Final = (*_THIS_OR_DELETED, ConversationRow.deleted_at.is_(None))
_OWN_FIELDS: Final = (
    "title",
    "description",
    "status",
    "settings",
    "memory",
    "tags",
    "metadata",
    "updated_at",
    "version",
    "deleted_at",
    "purge_at",
)
_ADD: Final = insert(ConversationRow.table())
_GET: Final = select(ConversationRow.table()).where(*_THIS)
LOCK: Final = Prepared(_GET.with_for_update())
_LOCK_DELETED: Final = select(ConversationRow.table()).where(*_THIS_OR_DELETED).with_for_update()
_WRITTEN: Final = (*_OWN_FIELDS, "size")
_SET: Final = update(ConversationRow.table()).values({name: bindparam(f"new_{name}") for name in _WRITTEN})
_REPLACE: Final = _SET.where(*_THIS)
_RESTORE: Final = _SET.where(*_THIS_OR_DELETED)
_ADD_TAGS: Final = insert(ConversationTagRow.table())
_CLEAR_TAGS: Final = delete(ConversationTagRow.table()).where(
    ConversationTagRow.owner_id == bindparam("owner"), ConversationTagRow.conversation_id == bindparam("conversation")
)


class SqlConversations:
    """Conversations in one transaction."""

    def __init__(self, statements: Statements) -> None:
        self._sql = statements

    async def add(self, conversation: Conversation, *, last_index: int | None = None) -> None:
        """See ``ConversationStore``."""
        active_at = max(conversation.created_at, conversation.last_message_at or conversation.created_at)
        values = {
            **_own_values(conversation),
            **usage_values(conversation.usage),
            "id": conversation.id,
            "owner_id": conversation.owner_id,
            "created_at": conversation.created_at,
            "message_count": conversation.message_count,
            "last_index": conversation.message_count if last_index is None else last_index,
            "last_message_at": conversation.last_message_at,
            "active_at": active_at,
            "size": _size_of(conversation),
        }
        await self._sql.run(_ADD, values)
        await self._add_tags(conversation)
        await add_conversation_words(self._sql, conversation)

    async def get(self, owner_id: str, conversation_id: str) -> Conversation:
        """See ``ConversationStore``."""
        return _found(await self._sql.row(_GET, _this(owner_id, conversation_id)), conversation_id)

    async def lock(self, owner_id: str, conversation_id: str) -> Conversation:
        """See ``ConversationStore``."""
        return _found(await self._sql.row(LOCK, _this(owner_id, conversation_id)), conversation_id)

    async def lock_deleted(self, owner_id: str, conversation_id: str) -> Conversation:
        """See ``ConversationStore``."""
        return _found(await self._sql.row(_LOCK_DELETED, _this(owner_id, conversation_id)), conversation_id)

    async def list(self, owner_id: str, wanted: ConversationFilter, page: PageRequest) -> Page[Conversation]:
        """See ``ConversationStore``."""
        row = ConversationRow
        found = select(row.id, row.size).where(row.owner_id == owner_id, row.deleted_at.is_(None))
        if wanted.status is not None:
            found = found.where(row.status == wanted.status.value)
        if wanted.tag:
            tagged = exists().where(
                ConversationTagRow.owner_id == owner_id,
                ConversationTagRow.tag == wanted.tag,
                ConversationTagRow.conversation_id == row.id,
            )
            found = found.where(tagged)
        if wanted.text:
            # `bytes` know the case of ASCII letters alone, as `lower` does here on both databases.
            text = wanted.text.encode().lower().decode()
            lowered = (func.lower(field, type_=AnyText()) for field in (row.title, row.description))
            found = found.where(or_(*(field.contains(text, autoescape=True) for field in lowered)))
        order, descending = _ORDERS[wanted.order]
        return await read_bounded_page(
            self._sql, found, row.table(), order, page, conversation_of, descending=descending
        )

    async def replace(self, conversation: Conversation) -> None:
        """See ``ConversationStore``."""
        await self._write(_REPLACE, conversation)

    async def restore(self, conversation: Conversation) -> None:
        """See ``ConversationStore``."""
        await self._write(_RESTORE, conversation)

    async def _write(self, statement: Update, conversation: Conversation) -> None:
        this = _this(conversation.owner_id, conversation.id)
        values = {f"new_{name}": value for name, value in _own_values(conversation).items()}
        if await self._sql.count(statement, {**this, **values, "new_size": _size_of(conversation)}) == 0:
            raise ConversationNotFound(conversation_id=conversation.id)
        await self._sql.run(_CLEAR_TAGS, this)
        await self._add_tags(conversation)
        await change_conversation_words(self._sql, conversation)

    async def _add_tags(self, conversation: Conversation) -> None:
        owner_id, conversation_id = conversation.owner_id, conversation.id
        tags = [
            {"owner_id": owner_id, "conversation_id": conversation_id, "tag": tag} for tag in set(conversation.tags)
        ]
        if tags:
            await self._sql.run(_ADD_TAGS, tags)


def _this(owner_id: str, conversation_id: str) -> dict[str, str]:
    return {"owner": owner_id, "conversation": conversation_id}


def _own_values(conversation: Conversation) -> dict[str, Any]:
    return {name: getattr(conversation, name) for name in _OWN_FIELDS}


def _size_of(conversation: Conversation) -> int:
    """Return the bytes of what a caller may have written into a conversation."""
    texts = (
        conversation.title,
        conversation.description,
        conversation.settings.system_prompt or "",
        *conversation.tags,
        *conversation.metadata.keys(),
        *conversation.metadata.values(),
    )
    return sum(len(text.encode()) for text in texts)


def _found(row: Row[Any] | None, conversation_id: str) -> Conversation:
    if row is None:
        raise ConversationNotFound(conversation_id=conversation_id)
    return conversation_of(row)


def conversation_of(row: Row[Any]) -> Conversation:
    """Return the conversation in a row."""
    return Conversation(
        id=row.id,
        owner_id=row.owner_id,
        title=row.title,
        description=row.description,
        status=ConversationStatus(row.status),
        settings=row.settings,
        memory=row.memory,
        tags=row.tags,
        metadata=row.metadata,
        created_at=row.created_at,
        updated_at=row.updated_at,
        version=row.version,
        message_count=row.message_count,
        usage=usage_of_row(row),
        last_message_at=row.last_message_at,
        deleted_at=row.deleted_at,
        purge_at=row.purge_at,
    )
