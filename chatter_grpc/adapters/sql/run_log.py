"""Keeps the logs of runs, a row per run and batch.

A log that was compacted has the batches of its snapshot under attempt 0, which nobody writes, and then its last event
under the attempt that wrote it. So a statement that reads on from anywhere finds one of them.
"""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Row, bindparam, func, insert, or_, select, tuple_
from sqlalchemy.orm import Mapped, mapped_column

from chatter_grpc.adapters.sql.log_codec import decode_batch, encode_batch
from chatter_grpc.adapters.sql.rows import Stored
from chatter_grpc.adapters.sql.statements import Asked, Prepared, Statements
from chatter_grpc.core.runs.events import Batch, Entry
from chatter_grpc.core.runs.run import LogPosition

# A reader that is far behind takes this many batches at a time at most.
_BATCHES: Final = 500


class RunLogRow(Stored):
    """A batch of a run's log. The fence has seen its run's row, so no foreign key looks at it again."""

    __tablename__ = "run_log"
    __table_args__ = ({"sqlite_with_rowid": False},)

    run_id: Mapped[str] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    last_seq: Mapped[int] = mapped_column(primary_key=True)
    first_seq: Mapped[int]
    size: Mapped[int]
    events: Mapped[bytes]


_ADD: Final = Prepared(insert(RunLogRow.table()))
_AFTER: Final = (
    select(RunLogRow.table())
    .where(
        RunLogRow.run_id == bindparam("run"),
        tuple_(RunLogRow.attempt, RunLogRow.last_seq) > tuple_(bindparam("attempt"), bindparam("seq")),
    )
    .order_by(RunLogRow.attempt, RunLogRow.last_seq)
    .limit(_BATCHES)
    .subquery("after")
)
_SUMMED: Final = select(
    _AFTER, func.sum(_AFTER.c.size).over(order_by=(_AFTER.c.attempt, _AFTER.c.last_seq)).label("total")
).subquery("summed")
_READ: Final = (
    select(_SUMMED.c.attempt, _SUMMED.c.first_seq, _SUMMED.c.last_seq, _SUMMED.c.events)
    .where(or_(_SUMMED.c.total <= bindparam("most"), _SUMMED.c.total == _SUMMED.c.size))
    .order_by(_SUMMED.c.attempt, _SUMMED.c.last_seq)
)


async def add_batch(statements: Statements, batch: Batch) -> None:
    """Insert a batch whose fence has passed in this transaction."""
    await statements.later(_ADD, batch_values(batch))


def adding_batch(batch: Batch) -> Asked:
    """Return what inserts a batch, to be sent behind the fence that has to pass before."""
    return Asked(_ADD, batch_values(batch))


async def add_batches(statements: Statements, batches: Sequence[Batch]) -> None:
    """Insert batches of several runs whose fences have passed in this transaction."""
    if batches:
        await statements.later(_ADD, [batch_values(batch) for batch in batches])


def batch_values(batch: Batch) -> dict[str, Any]:
    """Return a batch as values of its columns."""
    events = encode_batch(batch)
    return {
        "run_id": batch.run_id,
        "attempt": batch.attempt,
        "last_seq": batch.last_seq,
        "first_seq": batch.first_seq,
        "size": len(events),
        "events": events,
    }


async def read_entries(statements: Statements, run_id: str, after: LogPosition, max_bytes: int) -> Sequence[Entry]:
    """Return entries after a position: at least one batch where there is one, up to a size of their bytes."""
    return entries_of(await _rows_after(statements, run_id, after, max_bytes), after)


async def _rows_after(statements: Statements, run_id: str, after: LogPosition, max_bytes: int) -> Sequence[Row[Any]]:
    values = {"run": run_id, "attempt": after.attempt, "seq": after.seq, "most": max_bytes}
    return await statements.rows(_READ, values)


def entries_of(rows: Sequence[Any], after: LogPosition) -> Sequence[Entry]:
    """Return what the batches of a log as it was written hold after a position.

    Of the rows, however they were read, ``attempt``, ``first_seq`` and ``events`` are asked for.
    """
    entries: list[Entry] = []
    for row in rows:
        batch = decode_batch(row.events, row.attempt, row.first_seq)
        if row.attempt == after.attempt and row.first_seq <= after.seq:
            batch = tuple(entry.after(after.seq) for entry in batch if entry.seq > after.seq)
        entries += batch
    return entries
