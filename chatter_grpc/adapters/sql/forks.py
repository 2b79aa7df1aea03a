"""Copies messages from one conversation into another, in as many statements for many as for one."""

from typing import Any, Final

from sqlalchemy import ColumnElement, Text, bindparam, exists, func, insert, null, or_, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from chatter_grpc.adapters.sql.images import MessageImageRow
from chatter_grpc.adapters.sql.messages import MessageRow, message_of
from chatter_grpc.adapters.sql.statements import Statements
from chatter_grpc.adapters.sql.words import MessageWordsRow, add_message_words
from chatter_grpc.core.forks import Extent
from chatter_grpc.core.ids import MESSAGE, new_id

# An id ends with the index of its message, in so many hexadecimal digits; the rest is that of a fresh one.
INDEX_DIGITS: Final = 8


class _IndexDigits(FunctionElement[str]):
    """An index as the last digits of an id."""

    name = "index_digits"
    inherit_cache = True
    type = Text()


@compiles(_IndexDigits, "sqlite")
def _digits_on_sqlite(element: _IndexDigits, compiler: SQLCompiler, **options: Any) -> str:
    return f"printf('%0{INDEX_DIGITS}x', {compiler.process(element.clauses, **options)})"


@compiles(_IndexDigits, "postgresql")
def _digits_on_postgres(element: _IndexDigits, compiler: SQLCompiler, **options: Any) -> str:
    return f"lpad(to_hex({compiler.process(element.clauses, **options)}), {INDEX_DIGITS}, '0')"


_TO_COPY: Final = (
    MessageRow.owner_id == bindparam("owner"),
    MessageRow.conversation_id == bindparam("conversation"),
    MessageRow.position <= bindparam("last"),
    MessageRow.deleted_at.is_(None),
    or_(MessageRow.replaced_by_run_id.is_(None), MessageRow.run_id == bindparam("kept")),
)
_IMAGES: Final = (
    select(func.coalesce(func.sum(MessageImageRow.size_bytes), 0))
    .join(MessageRow, MessageRow.id == MessageImageRow.message_id)
    .where(*_TO_COPY)
    .scalar_subquery()
)
_MEASURE: Final = select(
    func.count().label("messages"),
    (func.coalesce(func.sum(MessageRow.size), 0) + _IMAGES).label("size_bytes"),
    func.max(MessageRow.created_at).label("last_message_at"),
).where(*_TO_COPY)

_NEW_CONVERSATION: Final = bindparam("new_conversation", type_=MessageRow.conversation_id.type)
_NEW_ID: Final[ColumnElement[str]] = bindparam("stem", type_=Text()).concat(_IndexDigits(MessageRow.position))
# What a copy has of its own; all else it has of its original.
_OF_A_COPY: Final[dict[str, Any]] = {
    "id": _NEW_ID,
    "conversation_id": _NEW_CONVERSATION,
    "copied_from": MessageRow.id,
    **dict.fromkeys(("input_tokens", "output_tokens", "cost_micros", "estimated"), null()),
    **dict.fromkeys(("rating", "rating_comment", "rated_at", "replaced_by_run_id"), null()),
}
_MESSAGE_COLUMNS: Final = [column.name for column in MessageRow.table().columns]
_COPY: Final = insert(MessageRow.table()).from_select(
    _MESSAGE_COLUMNS,
    select(*(_OF_A_COPY.get(name, MessageRow.table().c[name]) for name in _MESSAGE_COLUMNS)).where(*_TO_COPY),
)
_OF_COPIED_WORDS: Final[dict[str, Any]] = {"message_id": _NEW_ID, "conversation_id": _NEW_CONVERSATION}
_WORDS_COLUMNS: Final = [column.name for column in MessageWordsRow.table().columns if column.name != "id"]
_COPY_WORDS: Final = insert(MessageWordsRow.table()).from_select(
    _WORDS_COLUMNS,
    select(*(_OF_COPIED_WORDS.get(name, MessageWordsRow.table().c[name]) for name in _WORDS_COLUMNS))
    .join(MessageRow, MessageRow.id == MessageWordsRow.message_id)
    .where(*_TO_COPY, MessageWordsRow.owner_id == bindparam("owner"))
    .order_by(MessageRow.position),
)
# What was replaced has no words to copy.
_WORDLESS: Final = select(MessageRow.table()).where(
    MessageRow.owner_id == bindparam("owner"),
    MessageRow.conversation_id == _NEW_CONVERSATION,
    ~exists().where(MessageWordsRow.message_id == MessageRow.id),
)
_IMAGE_COLUMNS: Final = [column.name for column in MessageImageRow.table().columns]
_COPY_IMAGES: Final = insert(MessageImageRow.table()).from_select(
    _IMAGE_COLUMNS,
    select(*(_NEW_ID if name == "message_id" else MessageImageRow.table().c[name] for name in _IMAGE_COLUMNS))
    .join(MessageRow, MessageRow.id == MessageImageRow.message_id)
    .where(*_TO_COPY, MessageImageRow.owner_id == bindparam("owner")),
)


class SqlForks:
    """Copies in one transaction."""

    def __init__(self, statements: Statements) -> None:
        self._sql = statements

    async def measure(self, owner_id: str, conversation_id: str, last_index: int, *, kept_run_id: str = "") -> Extent:
        """See ``ForkStore``."""
        values = {"owner": owner_id, "conversation": conversation_id, "last": last_index, "kept": kept_run_id}
        (row,) = await self._sql.rows(_MEASURE, values)
        return Extent(messages=row.messages, size_bytes=int(row.size_bytes), last_message_at=row.last_message_at)

    async def copy(
        self,
        owner_id: str,
        conversation_id: str,
        last_index: int,
        new_conversation_id: str,
        *,
        kept_run_id: str = "",
    ) -> None:
        """See ``ForkStore``."""
        values = {
            "owner": owner_id,
            "conversation": conversation_id,
            "last": last_index,
            "kept": kept_run_id,
            "new_conversation": new_conversation_id,
            "stem": new_id(MESSAGE)[:-INDEX_DIGITS],
        }
        await self._sql.run(_COPY, values)
        await self._sql.run(_COPY_WORDS, values)
        await self._sql.run(_COPY_IMAGES, values)
        if kept_run_id:
            here = {"owner": owner_id, "new_conversation": new_conversation_id}
            kept = [message_of(row) for row in await self._sql.rows(_WORDLESS, here)]
            await add_message_words(self._sql, kept, new_conversation_id)
