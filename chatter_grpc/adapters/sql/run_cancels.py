"""Cancels runs: those at work by an intent that whoever works on them finds, those that wait at once."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import bindparam, literal_column, update
from sqlalchemy.sql.dml import ReturningUpdate

from chatter_grpc.adapters.sql.columns import Among
from chatter_grpc.adapters.sql.run_log import add_batches
from chatter_grpc.adapters.sql.run_rows import ACTIVE, RunRow
from chatter_grpc.adapters.sql.statements import Statements
from chatter_grpc.core.runs.events import Batch, Entry, RunCancelled
from chatter_grpc.core.runs.run import RunState
from chatter_grpc.core.usage import Usage

_THESE: Final = Among(RunRow.id, "chosen")
_ALL: Final = Among(RunRow.owner_id, "chosen")


def _end_pending(chosen: Among) -> ReturningUpdate[str, int, int]:
    return (
        update(RunRow.table())
        .where(chosen, RunRow.state == literal_column(f"'{RunState.PENDING}'"))
        .values(
            state=literal_column(f"'{RunState.CANCELLED}'"),
            last_seq=RunRow.last_seq + 1,
            cancel_requested_at=bindparam("at"),
            finished_at=bindparam("at"),
        )
        .returning(RunRow.id, RunRow.attempt, RunRow.last_seq)
    )


def _ask(chosen: Among) -> ReturningUpdate[str]:
    return (
        update(RunRow.table())
        .where(
            chosen,
            # SQLite uses an index of some rows alone where its own condition is asked for, not where it follows.
            ACTIVE,
            RunRow.state == literal_column(f"'{RunState.RUNNING}'"),
            RunRow.cancel_requested_at.is_(None),
        )
        .values(cancel_requested_at=bindparam("at"))
        .returning(RunRow.id)
    )


_END_THESE: Final = _end_pending(_THESE)
_END_ALL: Final = _end_pending(_ALL)
_ASK_THESE: Final = _ask(_THESE)
_ASK_ALL: Final = _ask(_ALL)


async def cancel_these(statements: Statements, run_ids: Collection[str], at: datetime) -> None:
    """Cancel the active ones of these runs."""
    await _cancel(statements, _END_THESE, _ASK_THESE, run_ids, at)


async def cancel_all(statements: Statements, owner_ids: Collection[str], at: datetime) -> tuple[str, ...]:
    """Cancel all active runs of these owners, and return their ids."""
    return await _cancel(statements, _END_ALL, _ASK_ALL, owner_ids, at)


async def _cancel(
    statements: Statements,
    end: ReturningUpdate[str, int, int],
    ask: ReturningUpdate[str],
    chosen: Collection[str],
    at: datetime,
) -> tuple[str, ...]:
    values = {"chosen": tuple(chosen), "at": at}
    # Those that wait first: one that is claimed meanwhile is at work by the second statement.
    ended = await statements.rows(end, values)
    time_us = round(at.astimezone(UTC).timestamp() * 1_000_000)
    last = RunCancelled((), Usage())
    await add_batches(
        statements,
        [Batch(row.id, row.attempt, (Entry(row.last_seq, row.attempt, "", time_us, last),)) for row in ended],
    )
    asked = await statements.rows(ask, values)
    return tuple(row.id for row in (*ended, *asked))
