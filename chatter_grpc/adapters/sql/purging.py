"""Removes conversations, messages and runs with all that hangs on them, some rows at a time."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Delete, bindparam, delete, exists, select, update
from sqlalchemy.orm import InstrumentedAttribute

from chatter_grpc.adapters.sql.checkpoints import CheckpointRow, CheckpointValueRow, CheckpointWriteRow
from chatter_grpc.adapters.sql.columns import EPOCH, Among
from chatter_grpc.adapters.sql.conversations import ConversationRow, ConversationTagRow
from chatter_grpc.adapters.sql.images import MessageImageRow
from chatter_grpc.adapters.sql.ledger import ReservationRow
from chatter_grpc.adapters.sql.messages import MessageRow
from chatter_grpc.adapters.sql.run_log import RunLogRow
from chatter_grpc.adapters.sql.run_rows import ACTIVE, RunInputRow, RunRow
from chatter_grpc.adapters.sql.statements import Statements
from chatter_grpc.adapters.sql.words import ConversationWordsRow, MessageWordsRow

# A run has some rows more than a message.
_ROWS_OF_RUN: Final = 8


def _deletes(*keys: InstrumentedAttribute[Any]) -> dict[str, Delete]:
    """Return, by its table's name, what removes the rows of which a column is one of the parameter ``ids``."""
    return {str(key.table.name): delete(key.table).where(Among(key, "ids")) for key in keys}


_DROP_SCAFFOLDING: Final = _deletes(
    CheckpointRow.run_id, CheckpointValueRow.run_id, CheckpointWriteRow.run_id, ReservationRow.run_id
)
_DELETE_RUNS: Final = {**_DROP_SCAFFOLDING, **_deletes(RunLogRow.run_id, RunInputRow.run_id, RunRow.id)}
_DELETE_MESSAGES: Final = _deletes(MessageWordsRow.message_id, MessageImageRow.message_id, MessageRow.id)
_DELETE_CONVERSATIONS: Final = _deletes(
    ConversationTagRow.conversation_id, ConversationWordsRow.conversation_id, ConversationRow.id
)

_AT_WORK: Final = exists().where(RunRow.conversation_id == ConversationRow.id, ACTIVE)
_TO_PURGE: Final = (
    select(ConversationRow.id, ConversationRow.owner_id)
    .where(ConversationRow.purge_at <= bindparam("now"), ~_AT_WORK)
    .order_by(ConversationRow.purge_at)
    .limit(1)
)
# Whoever brings it back holds it, and has then won.
_HOLD_ONE: Final = _TO_PURGE.with_for_update(of=ConversationRow.table(), skip_locked=True)
_MARK: Final = (
    update(ConversationRow.table()).where(ConversationRow.id == bindparam("conversation")).values(purge_at=EPOCH)
)
_MESSAGES: Final = (
    select(MessageRow.id)
    .where(MessageRow.owner_id == bindparam("owner"), MessageRow.conversation_id == bindparam("conversation"))
    .order_by(MessageRow.position)
    .limit(bindparam("most"))
)
_RUNS: Final = select(RunRow.id).where(RunRow.conversation_id == bindparam("conversation")).limit(bindparam("most"))
_DELETED: Final = (
    select(MessageRow.id)
    .where(MessageRow.deleted_at <= bindparam("before"))
    .order_by(MessageRow.deleted_at)
    .limit(bindparam("most"))
)


async def any_conversation(statements: Statements, now: datetime) -> bool:
    """Whether there is a conversation whose purge time has come and in which no run is active."""
    return await statements.row(_TO_PURGE, {"now": now}) is not None


async def purge_conversation(statements: Statements, now: datetime, limit: int) -> Counter[str]:
    """Remove up to about ``limit`` rows of one such conversation, its own row last; nothing where there is none.

    Messages go before runs, and a run with its whole log, so that nobody reads a log with a gap.
    """
    held = await statements.row(_HOLD_ONE, {"now": now})
    if held is None:
        return Counter()
    here = {"conversation": held.id, "owner": held.owner_id}
    removed: Counter[str] = Counter()
    for query, deletes, most in (
        (_MESSAGES, _DELETE_MESSAGES, limit),
        (_RUNS, _DELETE_RUNS, max(limit // _ROWS_OF_RUN, 1)),
    ):
        ids = [row.id for row in await statements.rows(query, {**here, "most": most})]
        removed += await _delete(statements, deletes, ids)
        if len(ids) == most:
            # There may be more. By whatever clock, it is too late now to bring it back.
            await statements.run(_MARK, here)
            return removed
    return removed + await _delete(statements, _DELETE_CONVERSATIONS, [held.id])


async def any_message(statements: Statements, before: datetime) -> bool:
    """Whether there is a message that was deleted by then."""
    return bool(await statements.rows(_DELETED, {"before": before, "most": 1}))


async def purge_messages(statements: Statements, before: datetime, limit: int) -> Counter[str]:
    """Remove messages that were deleted by then."""
    ids = [row.id for row in await statements.rows(_DELETED, {"before": before, "most": limit})]
    return await _delete(statements, _DELETE_MESSAGES, ids)


async def delete_runs(statements: Statements, run_ids: Sequence[str]) -> Counter[str]:
    """Remove runs that have ended and that no message of a conversation hangs on."""
    return await _delete(statements, _DELETE_RUNS, run_ids)


async def drop_scaffolding(statements: Statements, run_id: str) -> Counter[str]:
    """Remove what a run needed only while it was at work."""
    return await _delete(statements, _DROP_SCAFFOLDING, [run_id])


async def _delete(statements: Statements, deletes: dict[str, Delete], ids: Sequence[str]) -> Counter[str]:
    removed: Counter[str] = Counter()
    if ids:
        for table, statement in deletes.items():
            removed[table] += await statements.count(statement, {"ids": ids})
    return removed
