"""Reads logs for those who follow them, and compacts those of ended runs."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import bindparam, delete, func, insert, select, update

from chatter_grpc.adapters.sql.columns import DatabaseTime
from chatter_grpc.adapters.sql.log_codec import encode_compacted
from chatter_grpc.adapters.sql.log_parts import read_parts
from chatter_grpc.adapters.sql.run_log import RunLogRow
from chatter_grpc.adapters.sql.run_rows import UNCOMPACTED, RunRow
from chatter_grpc.adapters.sql.statements import Statements
from chatter_grpc.core.runs.events import Batch
from chatter_grpc.core.runs.run_logs import Compaction, LogPart, LogPlace

_EXISTS: Final = select(RunRow.id).where(RunRow.id == bindparam("run"))
_BEGIN: Final = (
    update(RunRow.table()).where(RunRow.id == bindparam("run"), UNCOMPACTED).values(compacted_at=DatabaseTime())
)
_SIZE: Final = select(func.coalesce(func.sum(RunLogRow.size), 0).label("size")).where(
    RunLogRow.run_id == bindparam("run")
)
_REMOVE: Final = delete(RunLogRow.table()).where(RunLogRow.run_id == bindparam("run"))
_ADD: Final = insert(RunLogRow.table())


class SqlRunLogs:
    """Logs in one transaction."""

    def __init__(self, statements: Statements) -> None:
        self._sql = statements

    async def read_many(self, places: Sequence[LogPlace], max_bytes: int) -> Sequence[LogPart]:
        """See ``RunLogStore``."""
        return await read_parts(self._sql, places, max_bytes)

    async def exists(self, run_id: str) -> bool:
        """See ``RunLogStore``."""
        return await self._sql.row(_EXISTS, {"run": run_id}) is not None

    async def begin_compaction(self, run_id: str) -> bool:
        """See ``RunLogStore``."""
        return await self._sql.count(_BEGIN, {"run": run_id}) == 1

    async def replace(self, run_id: str, snapshot: Sequence[Batch], last: Batch) -> Compaction:
        """See ``RunLogStore``."""
        before = await self._sql.run(_SIZE, {"run": run_id})
        await self._sql.run(_REMOVE, {"run": run_id})
        rows = [_values(batch, last.first_seq - 1) for batch in (*snapshot, last)]
        await self._sql.run(_ADD, rows)
        return Compaction(bytes_before=int(before.scalar_one()), bytes_after=sum(row["size"] for row in rows))


def _values(batch: Batch, compacted: int) -> dict[str, Any]:
    events = encode_compacted(batch, compacted)
    return {
        "run_id": batch.run_id,
        "attempt": batch.attempt,
        "last_seq": batch.last_seq,
        "first_seq": batch.first_seq,
        "size": len(events),
        "events": events,
    }
