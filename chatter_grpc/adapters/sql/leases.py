"""Who is at work on a run: leases that are renewed, runs that are given back, and runs that are taken over."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, Text, bindparam, case, cast, false, literal, literal_column, or_, select, true, update

from chatter_grpc.adapters.sql.columns import Among, DatabaseTime, micros_of
from chatter_grpc.adapters.sql.run_log import add_batch, add_batches
from chatter_grpc.adapters.sql.run_rows import AT_WORK, RunRow
from chatter_grpc.adapters.sql.statements import Statements
from chatter_grpc.core.runs.events import AttemptStarted, Batch, Entry
from chatter_grpc.core.runs.run import WorkflowKind

# Of a run's id and its attempt in one text; no id has a slash.
_HELD_BY: Final = RunRow.id.concat(literal("/")).concat(cast(RunRow.attempt, Text()))
_RENEW: Final = (
    update(RunRow.table())
    .where(
        Among(RunRow.id, "runs"),
        Among(_HELD_BY, "held"),
        RunRow.process_id == bindparam("process"),
        RunRow.released == false(),
        AT_WORK,
    )
    .values(lease_expires_at=DatabaseTime("lease_seconds"))
    .returning(RunRow.id)
)
# A later version, which may be at work beside this one, may know more.
_KNOWN: Final = or_(RunRow.kind.is_(None), RunRow.kind.in_([literal_column(f"'{kind}'") for kind in WorkflowKind]))
_EXPIRED: Final = (AT_WORK, RunRow.lease_expires_at <= DatabaseTime(), _KNOWN)
_ANY: Final = select(RunRow.id).where(*_EXPIRED).limit(1)
_ANY_RELEASED: Final = _ANY.where(RunRow.released == true())
_LOST: Final = (
    select(RunRow.id)
    .where(*_EXPIRED)
    .order_by(RunRow.lease_expires_at)
    .limit(bindparam("most"))
    # On PostgreSQL others that take at the same time pass over these rows. A CTE that locks is evaluated once.
    .with_for_update(skip_locked=True)
    .cte("lost")
)
_TAKING: Final = (
    update(RunRow.table())
    .values(
        attempt=RunRow.attempt + 1,
        last_seq=RunRow.last_seq + 1,
        process_id=bindparam("process"),
        lease_expires_at=DatabaseTime("lease_seconds"),
        released=false(),
        losses=case(
            (RunRow.progress_attempt == RunRow.attempt, 0),
            (RunRow.released, RunRow.losses),
            else_=RunRow.losses + 1,
        ),
    )
    .returning(
        RunRow.id, RunRow.attempt, RunRow.last_seq, RunRow.losses, RunRow.first_leased_at, DatabaseTime().label("now")
    )
)
_TAKE_LOST: Final = _TAKING.where(RunRow.id == _LOST.c.id)
_TAKE: Final = _TAKING.where(
    RunRow.id == bindparam("run"),
    RunRow.attempt == bindparam("before"),
    RunRow.cancel_requested_at.is_not(None),
    AT_WORK,
)
_RELEASE: Final = (
    update(RunRow.table())
    .where(
        RunRow.id == bindparam("run"),
        RunRow.attempt == bindparam("mine"),
        RunRow.last_seq == bindparam("before"),
        RunRow.released == false(),
        AT_WORK,
    )
    .values(
        last_seq=bindparam("new_last_seq"),
        # Nobody's; what it has to end is found by its lease.
        process_id=literal_column("''"),
        lease_expires_at=DatabaseTime(),
        released=true(),
    )
)
_EXPIRE: Final = update(RunRow.table()).where(AT_WORK).values(lease_expires_at=DatabaseTime())


class TakenRow:
    """What the statement that took a run over tells of it."""

    __slots__ = ("elapsed", "first", "losses", "run_id")

    def __init__(self, row: Row[Any]) -> None:
        now: datetime = row.now
        began: datetime = row.first_leased_at or now
        started = Entry(row.last_seq, row.attempt, "", micros_of(now), AttemptStarted())
        self.run_id: str = row.id
        self.losses: int = row.losses
        self.elapsed = (now - began).total_seconds()
        self.first = Batch(row.id, row.attempt, (started,))


async def renew(
    statements: Statements, process_id: str, attempts: Mapping[str, int], lease_seconds: float
) -> Collection[str]:
    """Extend leases, and return the ids of the runs that are held."""
    values = {
        "runs": tuple(attempts),
        "held": tuple(f"{run_id}/{attempt}" for run_id, attempt in attempts.items()),
        "process": process_id,
        "lease_seconds": lease_seconds,
    }
    return {row.id for row in await statements.rows(_RENEW, values)}


async def any_lost(statements: Statements, *, released: bool) -> bool:
    """Whether a run can be taken over."""
    return await statements.row(_ANY_RELEASED if released else _ANY) is not None


async def take_lost(statements: Statements, process_id: str, lease_seconds: float, limit: int) -> Sequence[TakenRow]:
    """Take over runs that nobody holds, and write the first event of each one's attempt."""
    values = {"process": process_id, "lease_seconds": lease_seconds, "most": limit}
    taken = [TakenRow(row) for row in await statements.rows(_TAKE_LOST, values)]
    await add_batches(statements, [each.first for each in taken])
    return taken


async def take(
    statements: Statements, run_id: str, attempt: int, process_id: str, lease_seconds: float
) -> TakenRow | None:
    """Take over a run that is to be cancelled, and write the first event of its attempt."""
    values = {"run": run_id, "before": attempt, "process": process_id, "lease_seconds": lease_seconds}
    row = await statements.row(_TAKE, values)
    if row is None:
        return None
    taken = TakenRow(row)
    await add_batch(statements, taken.first)
    return taken


async def release(statements: Statements, run_id: str, attempt: int, last: Batch | None, last_seq: int) -> bool:
    """Write an attempt's last events and give its run back."""
    values = {
        "run": run_id,
        "mine": attempt,
        "before": last_seq,
        "new_last_seq": last_seq if last is None else last.last_seq,
    }
    if (last is not None and last.first_seq != last_seq + 1) or await statements.count(_RELEASE, values) == 0:
        return False
    if last is not None:
        await add_batch(statements, last)
    return True


async def expire(statements: Statements) -> int:
    """End all leases, and return how many there were."""
    return await statements.count(_EXPIRE)
