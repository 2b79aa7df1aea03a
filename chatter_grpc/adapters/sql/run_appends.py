"""Appends to a run's log behind its fence, within a transaction that writes more than the log."""

from typing import Final

from sqlalchemy import bindparam, update

from chatter_grpc.adapters.sql.run_log import add_batch
from chatter_grpc.adapters.sql.run_rows import AT_WORK, RunRow
from chatter_grpc.adapters.sql.statements import Statements
from chatter_grpc.core.runs.events import Batch
from chatter_grpc.core.runs.run import LogPosition

_APPEND: Final = (
    update(RunRow.table())
    .where(
        RunRow.id == bindparam("run"),
        RunRow.attempt == bindparam("mine"),
        RunRow.last_seq == bindparam("before"),
        AT_WORK,
    )
    .values(last_seq=bindparam("last"))
)
_APPEND_PROGRESS: Final = _APPEND.values(progress_attempt=RunRow.attempt)


async def append(
    statements: Statements, run_id: str, after: LogPosition, batch: Batch | None, *, progress: bool
) -> bool:
    """See ``RunStore``."""
    values = {
        "run": run_id,
        "mine": after.attempt,
        "before": after.seq,
        "last": after.seq if batch is None else batch.last_seq,
    }
    if await statements.count(_APPEND_PROGRESS if progress else _APPEND, values) == 0:
        return False
    if batch is not None:
        await add_batch(statements, batch)
    return True
