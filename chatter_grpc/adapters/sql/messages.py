"""Keeps messages."""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import ForeignKey, Index, Row, UniqueConstraint, bindparam, func, insert, or_, select, text, update
from sqlalchemy.orm import Mapped, aliased, mapped_column

from chatter_grpc.adapters.sql.columns import UtcTime
from chatter_grpc.adapters.sql.conversations import ConversationRow
from chatter_grpc.adapters.sql.paging import read_bounded_page
from chatter_grpc.adapters.sql.parts import Parts
from chatter_grpc.adapters.sql.rows import Stored, usage_of_row, usage_values
from chatter_grpc.adapters.sql.statements import Prepared, Statements
from chatter_grpc.adapters.sql.words import add_message_words, remove_message_words, remove_replaced_words
from chatter_grpc.core.errors import ConversationNotFound, MessageNotFound
from chatter_grpc.core.messages import Message, Part, Rating
from chatter_grpc.core.models import FinishReason, Role
from chatter_grpc.core.pages import Page, PageRequest
from chatter_grpc.core.usage import Usage

_DELETED: Final = text("deleted_at IS NOT NULL")


class MessageRow(Stored):
    """A message. Its usage is NULL as a whole where no model call made it, its cost alone where that is not known.

    ``size`` is how many bytes its text has, in UTF-8. What is rated has both a rating and a time.
    """

    __tablename__ = "messages"
    __table_args__ = (
        UniqueConstraint("owner_id", "conversation_id", "position"),
        # All that decides what is on a page, so that a page is cut without a look at what is left out.
        Index(
            "ix_messages_page",
            *("owner_id", "conversation_id", "position", "deleted_at", "replaced_by_run_id", "size", "id"),
        ),
        Index("ix_messages_deleted_at", "deleted_at", sqlite_where=_DELETED, postgresql_where=_DELETED),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    owner_id: Mapped[str] = mapped_column(ForeignKey("owners.id"))
    # No foreign key: whoever adds a message counts it in the conversation's row before.
    conversation_id: Mapped[str]
    # None either: a copy in a fork names the run of its original, and outlives it.
    run_id: Mapped[str]
    role: Mapped[str]
    parts: Mapped[tuple[Part, ...]] = mapped_column(Parts())
    text_sha256: Mapped[str]
    created_at: Mapped[datetime]
    position: Mapped[int]
    model: Mapped[str]
    provider: Mapped[str]
    finish_reason: Mapped[str | None]
    input_tokens: Mapped[int | None]
    output_tokens: Mapped[int | None]
    cost_micros: Mapped[int | None]
    estimated: Mapped[bool | None]
    latency_ms: Mapped[int | None]
    replaced_by_run_id: Mapped[str | None]
    size: Mapped[int] = mapped_column(server_default="0")
    copied_from: Mapped[str | None]
    rating: Mapped[int | None]
    rating_comment: Mapped[str | None]
    rated_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]


_COUNT: Final = Prepared(
    update(ConversationRow.table())
    .where(ConversationRow.id == bindparam("conversation"))
    .values(
        message_count=ConversationRow.message_count + bindparam("added"),
        last_index=ConversationRow.last_index + bindparam("added"),
        last_message_at=func.coalesce(bindparam("at", type_=UtcTime()), ConversationRow.last_message_at),
        active_at=func.coalesce(bindparam("at", type_=UtcTime()), ConversationRow.active_at),
        input_tokens=ConversationRow.input_tokens + bindparam("more_input"),
        output_tokens=ConversationRow.output_tokens + bindparam("more_output"),
        # A sum with NULL is NULL: once unknown, always unknown.
        cost_micros=ConversationRow.cost_micros + bindparam("more_cost"),
        estimated=or_(ConversationRow.estimated, bindparam("more_estimated")),
    )
    .returning(ConversationRow.last_index)
)
_ADD: Final = Prepared(insert(MessageRow.table()))
_VISIBLE: Final = (
    select(MessageRow.table())
    .join(ConversationRow, ConversationRow.id == MessageRow.conversation_id)
    .where(
        MessageRow.owner_id == bindparam("owner"),
        MessageRow.deleted_at.is_(None),
        ConversationRow.deleted_at.is_(None),
    )
)
_GET: Final = _VISIBLE.where(MessageRow.id == bindparam("message"))
_IN_CONVERSATION: Final = _VISIBLE.where(MessageRow.conversation_id == bindparam("conversation"))
_LISTED: Final = _IN_CONVERSATION.with_only_columns(MessageRow.id, MessageRow.size, maintain_column_froms=True)
_STANDS: Final = MessageRow.replaced_by_run_id.is_(None)
_LAST_QUESTION: Final = (
    _IN_CONVERSATION.where(MessageRow.role == Role.USER.value).order_by(MessageRow.position.desc()).limit(1)
)
_QUESTION: Final = aliased(MessageRow)
_ASKED_AT: Final = (
    select(_QUESTION.position)
    .where(_QUESTION.id == bindparam("question"), _QUESTION.owner_id == bindparam("owner"))
    .scalar_subquery()
)
_REPLACE: Final = (
    update(MessageRow.table())
    .where(
        MessageRow.owner_id == bindparam("owner"),
        MessageRow.conversation_id == bindparam("conversation"),
        MessageRow.position > _ASKED_AT,
        MessageRow.role == Role.ASSISTANT.value,
        MessageRow.run_id != bindparam("run"),
        MessageRow.deleted_at.is_(None),
        _STANDS,
    )
    .values(replaced_by_run_id=bindparam("run"))
)
_COUNT_LESS: Final = (
    update(ConversationRow.table())
    .where(ConversationRow.id == bindparam("conversation"))
    .values(message_count=ConversationRow.message_count - bindparam("replaced"))
)
_LATEST: Final = Prepared(
    _IN_CONVERSATION.where(MessageRow.position < bindparam("before"), _STANDS)
    .order_by(MessageRow.position.desc())
    .limit(bindparam("most"))
)
_THIS: Final = (MessageRow.id == bindparam("message"), MessageRow.owner_id == bindparam("owner"))
_REMOVE: Final = (
    update(MessageRow.table()).where(*_THIS, MessageRow.deleted_at.is_(None)).values(deleted_at=bindparam("at"))
)
_RATE: Final = (
    update(MessageRow.table())
    .where(*_THIS, MessageRow.deleted_at.is_(None))
    .values(rating=bindparam("new_rating"), rating_comment=bindparam("new_comment"), rated_at=bindparam("new_rated_at"))
)


class SqlMessages:
    """Messages in one transaction."""

    def __init__(self, statements: Statements) -> None:
        self._sql = statements

    async def append(
        self, conversation_id: str, messages: tuple[Message, ...], usage: Usage, *, after: int | None = None
    ) -> int:
        """See ``MessageStore``."""
        values = {
            "conversation": conversation_id,
            "added": len(messages),
            "at": max((message.created_at for message in messages), default=None),
            "more_input": usage.input_tokens,
            "more_output": usage.output_tokens,
            "more_cost": usage.cost_micros,
            "more_estimated": usage.estimated,
        }
        if after is not None:
            await self._sql.later(_COUNT, values)
        else:
            counted = await self._sql.row(_COUNT, values)
            if counted is None:
                raise ConversationNotFound(conversation_id=conversation_id)
            after = int(counted.last_index) - len(messages)
        first = after + 1
        if messages:
            added = [_values(message, conversation_id, first + place) for place, message in enumerate(messages)]
            await self._sql.later(_ADD, added if len(added) > 1 else added[0])
            await add_message_words(self._sql, messages, conversation_id)
        return first

    async def get(self, owner_id: str, message_id: str) -> Message:
        """See ``MessageStore``."""
        row = await self._sql.row(_GET, {"owner": owner_id, "message": message_id})
        if row is None:
            raise MessageNotFound(message_id=message_id)
        return message_of(row)

    async def list(
        self,
        owner_id: str,
        conversation_id: str,
        page: PageRequest,
        *,
        newest_first: bool,
        include_replaced: bool = False,
    ) -> Page[Message]:
        """See ``MessageStore``."""
        found = _LISTED.params(owner=owner_id, conversation=conversation_id)
        if not include_replaced:
            found = found.where(_STANDS)
        order = (MessageRow.position,)
        return await read_bounded_page(
            self._sql, found, MessageRow.table(), order, page, message_of, descending=newest_first
        )

    async def last_question(self, owner_id: str, conversation_id: str) -> Message | None:
        """See ``MessageStore``."""
        row = await self._sql.row(_LAST_QUESTION, {"owner": owner_id, "conversation": conversation_id})
        return None if row is None else message_of(row)

    async def replace_answers(self, owner_id: str, conversation_id: str, question_id: str, run_id: str) -> None:
        """See ``MessageStore``."""
        values = {"owner": owner_id, "conversation": conversation_id, "question": question_id, "run": run_id}
        replaced = await self._sql.count(_REPLACE, values)
        if replaced:
            await self._sql.run(_COUNT_LESS, {"conversation": conversation_id, "replaced": replaced})
            await remove_replaced_words(self._sql, owner_id, conversation_id, run_id)

    async def remove(self, owner_id: str, message: Message, at: datetime) -> None:
        """See ``MessageStore``."""
        if await self._sql.count(_REMOVE, {"owner": owner_id, "message": message.id, "at": at}) == 0:
            raise MessageNotFound(message_id=message.id)
        await remove_message_words(self._sql, owner_id, message.id)
        if not message.replaced_by_run_id:
            await self._sql.run(_COUNT_LESS, {"conversation": message.conversation_id, "replaced": 1})

    async def rate(self, owner_id: str, message_id: str, rating: Rating | None) -> None:
        """See ``MessageStore``."""
        values = {
            "owner": owner_id,
            "message": message_id,
            "new_rating": None if rating is None else rating.value,
            "new_comment": None if rating is None else rating.comment,
            "new_rated_at": None if rating is None else rating.rated_at,
        }
        if await self._sql.count(_RATE, values) == 0:
            raise MessageNotFound(message_id=message_id)

    async def latest(self, owner_id: str, conversation_id: str, before_index: int, count: int) -> tuple[Message, ...]:
        """See ``MessageStore``."""
        values = {"owner": owner_id, "conversation": conversation_id, "before": before_index, "most": count}
        rows = await self._sql.rows(_LATEST, values)
        return tuple(message_of(row) for row in reversed(rows))


def _values(message: Message, conversation_id: str, position: int) -> dict[str, Any]:
    nothing = {"input_tokens": None, "output_tokens": None, "cost_micros": None, "estimated": None}
    return {
        "id": message.id,
        "owner_id": message.owner_id,
        "conversation_id": conversation_id,
        "run_id": message.run_id,
        "role": message.role,
        "parts": message.parts,
        "text_sha256": message.text_sha256,
        "created_at": message.created_at,
        "position": position,
        "model": message.model,
        "provider": message.provider,
        "finish_reason": message.finish_reason,
        "latency_ms": message.latency_ms,
        "replaced_by_run_id": message.replaced_by_run_id or None,
        "size": len(message.text.encode()),
        "copied_from": message.copied_from or None,
        **(nothing if message.usage is None else usage_values(message.usage)),
    }


def message_of(row: Row[Any]) -> Message:
    """Return the message in a row."""
    return Message(
        id=row.id,
        owner_id=row.owner_id,
        conversation_id=row.conversation_id,
        run_id=row.run_id,
        role=Role(row.role),
        parts=row.parts,
        text_sha256=row.text_sha256,
        created_at=row.created_at,
        index=row.position,
        model=row.model,
        provider=row.provider,
        finish_reason=None if row.finish_reason is None else FinishReason(row.finish_reason),
        usage=None if row.input_tokens is None else usage_of_row(row),
        latency_ms=row.latency_ms,
        replaced_by_run_id=row.replaced_by_run_id or "",
        copied_from=row.copied_from or "",
        rating=_rating_of(row),
    )


def _rating_of(row: Row[Any]) -> Rating | None:
    if row.rating is None:
        return None
    return Rating(value=row.rating, comment=row.rating_comment, rated_at=row.rated_at)
