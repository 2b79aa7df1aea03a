"""Finds and removes what has had its time, whoever owns it, and keeps the runs that do so."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, func, literal_column, select, tuple_

from chatter_grpc.adapters.sql.columns import EPOCH
from chatter_grpc.adapters.sql.purging import (
    any_conversation,
    any_message,
    delete_runs,
    drop_scaffolding,
    purge_conversation,
    purge_messages,
)
from chatter_grpc.adapters.sql.run_rows import ACTIVE, UNCOMPACTED, RunRow
from chatter_grpc.adapters.sql.runs import SqlRuns
from chatter_grpc.adapters.sql.sizes import read_sizes
from chatter_grpc.adapters.sql.statements import Either, Statements
from chatter_grpc.adapters.sql.sweeping import any_to_sweep, sweep
from chatter_grpc.adapters.sql.users import OwnerRow, UserRow
from chatter_grpc.core.housekeeping.duties import OWN_RUNS_KEPT, Cutoffs, Duty
from chatter_grpc.core.housekeeping.store import SYSTEM, EndedRun, Passes, Sizes
from chatter_grpc.core.runs.events import Batch
from chatter_grpc.core.runs.run import Run, RunInput, RunState, WorkflowKind
from chatter_grpc.core.users import UserRole, UserState

# No username holds a bracket, so that nobody can take this one or log in by it.
_SYSTEM_NAME: Final = "(system)"
_ADD_SYSTEM: Final = Either(
    lambda insert_: (
        insert_(UserRow.table())
        .values(
            id=SYSTEM,
            username=_SYSTEM_NAME,
            username_key=_SYSTEM_NAME,
            email="",
            display_name="",
            role=UserRole.MEMBER.value,
            state=UserState.DISABLED.value,
            created_at=EPOCH,
        )
        .on_conflict_do_nothing()
    )
)
_ADD_SYSTEM_OWNER: Final = Either(
    lambda insert_: (
        insert_(OwnerRow.table())
        .values(id=SYSTEM, user_id=SYSTEM, subject="", created_at=EPOCH)
        .on_conflict_do_nothing()
    )
)
_HOLD_SYSTEM: Final = select(OwnerRow.id).where(OwnerRow.id == SYSTEM).with_for_update(key_share=True)
_KEEPS_HOUSE: Final = RunRow.kind == literal_column(f"'{WorkflowKind.HOUSEKEEPING}'")
_ANY_ACTIVE: Final = select(RunRow.id).where(_KEEPS_HOUSE, ACTIVE)
_OWN: Final = RunRow.owner_id == SYSTEM
_BEGAN: Final = select(RunRow.created_at, RunRow.finished_at).where(_OWN).order_by(RunRow.created_at.desc()).limit(1)
_COMPLETED: Final = select(func.max(RunRow.finished_at)).where(_OWN, RunRow.state == RunState.COMPLETED.value)
_ENDED: Final = (
    select(RunRow.finished_at, RunRow.id)
    .where(UNCOMPACTED, RunRow.finished_at <= bindparam("before"))
    .order_by(RunRow.finished_at, RunRow.id)
    .limit(bindparam("most"))
)
_AFTER: Final = tuple_(RunRow.finished_at, RunRow.id) > tuple_(
    bindparam("at", type_=RunRow.finished_at.type), bindparam("id", type_=RunRow.id.type)
)
_OLD_RUNS: Final = (
    select(RunRow.id)
    .where(_OWN, RunRow.finished_at.is_not(None))
    .order_by(RunRow.created_at.desc(), RunRow.id.desc())
    .offset(OWN_RUNS_KEPT)
    .limit(bindparam("most"))
)


class SqlHousekeeping:
    """Housekeeping in one transaction."""

    def __init__(self, statements: Statements) -> None:
        self._sql = statements

    async def passes(self) -> Passes:
        """See ``HousekeepingStore``."""
        began = await self._sql.row(_BEGAN)
        completed = (await self._sql.run(_COMPLETED)).scalar_one()
        if began is None:
            return Passes()
        return Passes(began_at=began.created_at, ended_at=began.finished_at, completed_at=completed)

    async def begin(
        self,
        run: Run,
        run_input: RunInput,
        first: Batch,
        *,
        process_id: str,
        lease_seconds: float,
        earlier_than: datetime,
    ) -> bool:
        """See ``HousekeepingStore``."""
        await self._sql.run(_ADD_SYSTEM)
        await self._sql.run(_ADD_SYSTEM_OWNER)
        await self._sql.run(_HOLD_SYSTEM)
        # Statements of their own: they are to see what was committed while the owner was waited for.
        began = await self._sql.row(_BEGAN)
        if began is not None and began.created_at >= earlier_than:
            return False
        if await self._sql.row(_ANY_ACTIVE) is not None:
            return False
        await SqlRuns(self._sql).add(run, run_input, first, process_id=process_id, lease_seconds=lease_seconds)
        return True

    async def is_due(self, duty: Duty, cutoffs: Cutoffs) -> bool:
        """See ``HousekeepingStore``."""
        match duty:
            case Duty.CONVERSATIONS:
                return await any_conversation(self._sql, cutoffs.now)
            case Duty.MESSAGES:
                return await any_message(self._sql, cutoffs.messages)
            case Duty.OWN_RUNS:
                return bool(await self._sql.rows(_OLD_RUNS, {"most": 1}))
            case _:
                return await any_to_sweep(self._sql, duty, cutoffs)

    async def remove(self, duty: Duty, cutoffs: Cutoffs, limit: int) -> Mapping[str, int]:
        """See ``HousekeepingStore``."""
        match duty:
            case Duty.CONVERSATIONS:
                return await purge_conversation(self._sql, cutoffs.now, limit)
            case Duty.MESSAGES:
                return await purge_messages(self._sql, cutoffs.messages, limit)
            case Duty.OWN_RUNS:
                old = await self._sql.rows(_OLD_RUNS, {"most": limit})
                return await delete_runs(self._sql, [row.id for row in old])
            case _:
                return await sweep(self._sql, duty, cutoffs, limit)

    async def ended_runs(self, before: datetime, after: EndedRun | None, limit: int) -> tuple[EndedRun, ...]:
        """See ``HousekeepingStore``."""
        values: dict[str, Any] = {"before": before, "most": limit}
        query = _ENDED
        if after is not None:
            query = query.where(_AFTER)
            values |= {"at": after.finished_at, "id": after.id}
        return tuple(EndedRun(row.finished_at, row.id) for row in await self._sql.rows(query, values))

    async def drop_scaffolding(self, run_id: str) -> Mapping[str, int]:
        """See ``HousekeepingStore``."""
        return await drop_scaffolding(self._sql, run_id)

    async def sizes(self) -> Sizes:
        """See ``HousekeepingStore``."""
        return await read_sizes(self._sql)
