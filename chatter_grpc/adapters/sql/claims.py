"""Counts the runs of owners and claims those that wait, fairly between owners."""

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import ForeignKey, bindparam, func, literal_column, select, update
from sqlalchemy.orm import Mapped, mapped_column

from chatter_grpc.adapters.sql.columns import DatabaseTime
from chatter_grpc.adapters.sql.rows import Stored
from chatter_grpc.adapters.sql.run_log import add_batch
from chatter_grpc.adapters.sql.run_rows import RunRow
from chatter_grpc.adapters.sql.statements import Either, Prepared, Statements
from chatter_grpc.adapters.sql.users import OwnerRow
from chatter_grpc.core.errors import TooManyPendingRuns, TooManyRuns
from chatter_grpc.core.runs.events import AttemptStarted, Batch, Entry
from chatter_grpc.core.runs.run import RunState

# Whoever loses a race for a run tries again; that it loses more often than so at once means that others claim them all.
_TRIES: Final = 5


class OwnerTurnRow(Stored):
    """When a run of an owner was claimed last."""

    __tablename__ = "owner_turns"

    owner_id: Mapped[str] = mapped_column(ForeignKey("owners.id"), primary_key=True)
    claimed_at: Mapped[datetime] = mapped_column(index=True)


def _is(state: RunState) -> Any:
    # Not a parameter: an index of some rows alone is for statements that say so. SQLite uses one only where its own
    # condition is asked for, not where it follows; hence _ACTIVE beside _AT_WORK.
    return RunRow.state == literal_column(f"'{state.value}'")


_PENDING: Final = _is(RunState.PENDING)
_AT_WORK: Final = _is(RunState.RUNNING)
_ACTIVE: Final = RunRow.state.in_([literal_column(f"'{state}'") for state in (RunState.PENDING, RunState.RUNNING)])

_HOLD_OWNER: Final = Prepared(
    select(OwnerRow.id).where(OwnerRow.id == bindparam("owner")).with_for_update(key_share=True)
)


def _few(condition: Any) -> Prepared:
    count = select(func.count()).where(RunRow.owner_id == bindparam("owner"), _ACTIVE, condition).scalar_subquery()
    return Prepared(select(literal_column("1").label("few")).where(count <= bindparam("most")))


# Find a row where an owner has no more of them.
_FEW_AT_WORK: Final = _few(_AT_WORK)
_FEW_PENDING: Final = _few(_PENDING)

_ANY_PENDING: Final = select(RunRow.id).where(_PENDING).limit(1)

# Goes from owner to owner in the index, however many runs each has.
_FIRST_WAITING: Final = (
    select(func.min(RunRow.owner_id).label("owner_id")).where(_PENDING).cte("waiting", recursive=True)
)
_NEXT_WAITING: Final = (
    select(func.min(RunRow.owner_id)).where(_PENDING, RunRow.owner_id > _FIRST_WAITING.c.owner_id).scalar_subquery()
)
_WAITING: Final = _FIRST_WAITING.union_all(select(_NEXT_WAITING).where(_FIRST_WAITING.c.owner_id.is_not(None)))
_COUNT: Final = (
    select(func.count()).where(RunRow.owner_id == OwnerRow.id, _ACTIVE, _AT_WORK).correlate(OwnerRow).scalar_subquery()
)
_WHOSE_TURN: Final = (
    select(OwnerRow.id)
    .join(_WAITING, _WAITING.c.owner_id == OwnerRow.id)
    .join(OwnerTurnRow, OwnerTurnRow.owner_id == OwnerRow.id, isouter=True)
    .where(bindparam("most") > _COUNT)
    .order_by(_COUNT, OwnerTurnRow.claimed_at.nulls_first(), OwnerRow.id)
    .limit(1)
    # On PostgreSQL others that claim at the same time go to the next owner.
    .with_for_update(of=OwnerRow.table(), key_share=True, skip_locked=True)
)
_OLDEST: Final = (
    select(RunRow.id)
    .where(RunRow.owner_id == bindparam("owner"), _PENDING)
    .order_by(RunRow.created_at, RunRow.id)
    .limit(1)
    .with_for_update(skip_locked=True)
    # A CTE that locks is evaluated once.
    .cte("oldest")
)
_COUNT_OF_ONE: Final = (
    select(func.count())
    .where(RunRow.owner_id == bindparam("owner"), _ACTIVE, _AT_WORK)
    .correlate(None)
    .scalar_subquery()
)
_CLAIM: Final = (
    update(RunRow.table())
    .where(RunRow.id == _OLDEST.c.id, _PENDING, bindparam("most") > _COUNT_OF_ONE)
    .values(
        state=literal_column(f"'{RunState.RUNNING.value}'"),
        last_seq=RunRow.last_seq + 1,
        process_id=bindparam("process"),
        lease_expires_at=DatabaseTime("lease_seconds"),
        first_leased_at=DatabaseTime(),
    )
    .returning(RunRow.id, RunRow.attempt, RunRow.last_seq)
)
_TAKE_TURN: Final = Either(
    lambda insert_: (
        insert_(OwnerTurnRow.table())
        .values(owner_id=bindparam("owner"), claimed_at=DatabaseTime())
        .on_conflict_do_update(index_elements=[OwnerTurnRow.owner_id], set_={"claimed_at": DatabaseTime()})
    )
)


async def bound_load(statements: Statements, owner_id: str, state: RunState, most: int) -> None:
    """Hold an owner and refuse what was done where more of its runs than ``most`` are in a state that is active."""

    async def refuse() -> Exception:
        return TooManyPendingRuns(limit=most) if state is RunState.PENDING else TooManyRuns(limit=most)

    await statements.later(_HOLD_OWNER, {"owner": owner_id})
    # A statement of its own: it is to see what was committed while the owner was waited for.
    bound = _FEW_PENDING if state is RunState.PENDING else _FEW_AT_WORK
    await statements.later(bound, {"owner": owner_id, "most": most}, refuse)


async def any_pending(statements: Statements) -> bool:
    """Whether a run is pending."""
    return await statements.row(_ANY_PENDING) is not None


async def claim(
    statements: Statements, process_id: str, lease_seconds: float, at_work: int, at: datetime
) -> str | None:
    """Claim a pending run and return its id."""
    for _ in range(_TRIES):
        owner = await statements.row(_WHOSE_TURN, {"most": at_work})
        if owner is None:
            return None
        values = {"owner": owner.id, "most": at_work, "process": process_id, "lease_seconds": lease_seconds}
        claimed = await statements.row(_CLAIM, values)
        if claimed is not None:
            await statements.run(_TAKE_TURN, {"owner": owner.id})
            time_us = round(at.astimezone(UTC).timestamp() * 1_000_000)
            started = Entry(claimed.last_seq, claimed.attempt, "", time_us, AttemptStarted())
            await add_batch(statements, Batch(claimed.id, claimed.attempt, (started,)))
            return str(claimed.id)
    return None
