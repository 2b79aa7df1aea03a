"""Keeps runs: their records, leases and ends."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, bindparam, insert, select, update

from chatter_grpc.adapters.sql import leases
from chatter_grpc.adapters.sql.claims import any_pending, bound_load, claim
from chatter_grpc.adapters.sql.columns import Among, DatabaseTime
from chatter_grpc.adapters.sql.paging import read_page
from chatter_grpc.adapters.sql.rows import usage_of_row, usage_values
from chatter_grpc.adapters.sql.run_appends import append
from chatter_grpc.adapters.sql.run_cancels import cancel_all, cancel_these
from chatter_grpc.adapters.sql.run_log import add_batch, adding_batch, read_entries
from chatter_grpc.adapters.sql.run_rows import ACTIVE, AT_WORK, RunInputRow, RunRow
from chatter_grpc.adapters.sql.statements import Asked, Either, Prepared, Statements
from chatter_grpc.core.budgets import Budget
from chatter_grpc.core.errors import ConversationBusy, RunNotFound
from chatter_grpc.core.pages import Page, PageRequest
from chatter_grpc.core.runs.events import Batch, Entry
from chatter_grpc.core.runs.run import (
    LogPosition,
    Run,
    RunEnd,
    RunFilter,
    RunInput,
    RunState,
    Taken,
    WorkflowKind,
)

_LISTED: Final = 10_000
_RUNNING: Final = RunRow.state == RunState.RUNNING.value


def _adding(**more: Any) -> Either:
    return Either(
        lambda insert_: (
            insert_(RunRow.table())
            .values(lease_expires_at=DatabaseTime("lease_seconds"), **more)
            .on_conflict_do_nothing(index_elements=[RunRow.conversation_id], index_where=ACTIVE)
            .returning(RunRow.id)
        )
    )


_ADD: Final = Prepared(_adding(first_leased_at=DatabaseTime()))
_ADD_PENDING: Final = Prepared(_adding())
_ADD_INPUT: Final = Prepared(insert(RunInputRow.table()))
_BUSY: Final = select(RunRow.id).where(RunRow.conversation_id == bindparam("conversation"), ACTIVE)
_RUNS: Final = select(RunRow.table())
_GET: Final = _RUNS.where(RunRow.id == bindparam("run"), RunRow.owner_id == bindparam("owner"))
_INPUT: Final = (
    select(RunInputRow.input)
    .join(RunRow, RunRow.id == RunInputRow.run_id)
    .where(RunRow.id == bindparam("run"), RunRow.owner_id == bindparam("owner"))
)
_THESE: Final = _RUNS.where(Among(RunRow.id, "runs")).order_by(RunRow.created_at, RunRow.id)
_OF_OWNERS: Final = (
    _RUNS.where(Among(RunRow.owner_id, "owners"), ACTIVE).order_by(RunRow.created_at, RunRow.id).limit(_LISTED)
)
_CANCEL_REQUESTED: Final = select(RunRow.id).where(
    RunRow.process_id == bindparam("process"), AT_WORK, RunRow.cancel_requested_at.is_not(None)
)
_FINISH: Final = Prepared(
    update(RunRow.table())
    .where(
        RunRow.id == bindparam("run"),
        RunRow.attempt == bindparam("mine"),
        RunRow.last_seq == bindparam("before"),
        _RUNNING,
    )
    .values(
        {
            name: bindparam(f"new_{name}")
            for name in (
                "state",
                "last_seq",
                "finished_at",
                "failure_reason",
                "failure_message",
                "input_tokens",
                "output_tokens",
                "cost_micros",
                "estimated",
            )
        }
    )
)


class SqlRuns:
    """Runs in one transaction."""

    def __init__(self, statements: Statements) -> None:
        self._sql = statements

    async def add(
        self,
        run: Run,
        run_input: RunInput,
        first: Batch,
        *,
        process_id: str,
        lease_seconds: float,
        most: int | None = None,
    ) -> None:
        """See ``RunStore``."""
        pending = run.state is RunState.PENDING
        values = {
            **_values(run, first),
            "process_id": "" if pending else process_id,
            "lease_seconds": 0.0 if pending else lease_seconds,
        }

        async def refuse() -> Exception | None:
            busy = await self._sql.row(_BUSY, {"conversation": run.conversation_id})
            # Where there is none, the other run has ended in between.
            return None if busy is None else ConversationBusy(conversation_id=run.conversation_id, run_id=busy.id)

        await self._sql.later(_ADD_PENDING if pending else _ADD, values, refuse)
        await self._sql.later(_ADD_INPUT, {"run_id": run.id, "input": run_input})
        await add_batch(self._sql, first)
        if most is not None:
            await bound_load(self._sql, run.owner_id, run.state, most)

    async def any_pending(self) -> bool:
        """See ``RunStore``."""
        return await any_pending(self._sql)

    async def claim(self, process_id: str, lease_seconds: float, at_work: int, at: datetime) -> Run | None:
        """See ``RunStore``."""
        claimed = await claim(self._sql, process_id, lease_seconds, at_work, at)
        if claimed is None:
            return None
        return _run_of((await self._sql.run(_THESE, {"runs": (claimed,)})).one())

    async def get(self, owner_id: str, run_id: str) -> Run:
        """See ``RunStore``."""
        row = await self._sql.row(_GET, {"owner": owner_id, "run": run_id})
        if row is None:
            raise RunNotFound(run_id=run_id)
        return _run_of(row)

    async def input(self, owner_id: str, run_id: str) -> RunInput:
        """See ``RunStore``."""
        row = await self._sql.row(_INPUT, {"owner": owner_id, "run": run_id})
        if row is None:
            raise RunNotFound(run_id=run_id)
        found: RunInput = row.input
        return found

    async def list(self, owner_id: str, wanted: RunFilter, page: PageRequest) -> Page[Run]:
        """See ``RunStore``."""
        query = _RUNS.where(RunRow.owner_id == owner_id)
        if wanted.conversation_id:
            query = query.where(RunRow.conversation_id == wanted.conversation_id)
        if wanted.state is not None:
            query = query.where(RunRow.state == wanted.state.value)
        return await read_page(self._sql, query, (RunRow.created_at, RunRow.id), page, _run_of, descending=True)

    async def active(self, owner_ids: Collection[str], conversation_id: str = "") -> tuple[Run, ...]:
        """See ``RunStore``."""
        query = _OF_OWNERS
        if conversation_id:
            query = query.where(RunRow.conversation_id == conversation_id)
        return tuple(_run_of(row) for row in await self._sql.rows(query, {"owners": tuple(owner_ids)}))

    async def request_cancel(self, run_ids: Collection[str], at: datetime) -> None:
        """See ``RunStore``."""
        await cancel_these(self._sql, run_ids, at)

    async def cancel_all(self, owner_ids: Collection[str], at: datetime) -> tuple[str, ...]:
        """See ``RunStore``."""
        return await cancel_all(self._sql, owner_ids, at)

    async def cancel_requested(self, process_id: str) -> tuple[str, ...]:
        """See ``RunStore``."""
        return tuple(row.id for row in await self._sql.rows(_CANCEL_REQUESTED, {"process": process_id}))

    async def append(self, run_id: str, after: LogPosition, batch: Batch | None, *, progress: bool) -> bool:
        """See ``RunStore``."""
        return await append(self._sql, run_id, after, batch, progress=progress)

    async def finish(self, end: RunEnd, last: Batch) -> bool:
        """See ``RunStore``."""
        ended = {
            "state": end.state,
            "last_seq": last.last_seq,
            "finished_at": end.finished_at,
            "failure_reason": end.failure_reason,
            "failure_message": end.failure_message,
            **usage_values(end.usage),
        }
        fence = {"run": last.run_id, "mine": last.attempt, "before": last.first_seq - 1}
        values = {**fence, **{f"new_{name}": value for name, value in ended.items()}}
        steps = Asked(_FINISH, values, needed=True), adding_batch(last)
        return len(await self._sql.together(*steps)) == len(steps)

    async def read_log(self, run_id: str, after: LogPosition, max_bytes: int) -> Sequence[Entry]:
        """See ``RunStore``."""
        return await read_entries(self._sql, run_id, after, max_bytes)

    async def renew_leases(self, process_id: str, attempts: Mapping[str, int], lease_seconds: float) -> Collection[str]:
        """See ``RunStore``."""
        return await leases.renew(self._sql, process_id, attempts, lease_seconds)

    async def any_lost(self, *, released: bool = False) -> bool:
        """See ``RunStore``."""
        return await leases.any_lost(self._sql, released=released)

    async def take_lost(self, process_id: str, lease_seconds: float, limit: int) -> tuple[Taken, ...]:
        """See ``RunStore``."""
        return await self._taken(await leases.take_lost(self._sql, process_id, lease_seconds, limit))

    async def take(self, run_id: str, attempt: int, process_id: str, lease_seconds: float) -> Taken | None:
        """See ``RunStore``."""
        row = await leases.take(self._sql, run_id, attempt, process_id, lease_seconds)
        return None if row is None else (await self._taken((row,)))[0]

    async def release(self, run_id: str, attempt: int, last: Batch | None, last_seq: int) -> bool:
        """See ``RunStore``."""
        return await leases.release(self._sql, run_id, attempt, last, last_seq)

    async def expire_leases(self) -> int:
        """See ``RunStore``."""
        return await leases.expire(self._sql)

    async def _taken(self, rows: Sequence[leases.TakenRow]) -> tuple[Taken, ...]:
        if not rows:
            return ()
        by_id = {row.run_id: row for row in rows}
        runs = map(_run_of, await self._sql.rows(_THESE, {"runs": tuple(by_id)}))
        return tuple(
            Taken(run=run, first=found.first, losses=found.losses, elapsed=found.elapsed)
            for run in runs
            for found in (by_id[run.id],)
        )


def _values(run: Run, first: Batch) -> dict[str, Any]:
    return {
        **usage_values(run.usage),
        "id": run.id,
        "owner_id": run.owner_id,
        "actor_id": run.actor_id,
        "conversation_id": run.conversation_id or None,
        "kind": run.kind,
        "workflow_id": run.workflow_id,
        "state": run.state,
        "created_at": run.created_at,
        "attempt": run.attempt,
        "last_seq": first.last_seq,
        "failure_reason": run.failure_reason,
        "failure_message": run.failure_message,
        "cancel_requested_at": run.cancel_requested_at,
        "finished_at": run.finished_at,
        "user_message_id": run.user_message_id,
        "regeneration": run.regeneration,
        "budget_tokens": run.budget.max_tokens,
        "budget_cost_micros": run.budget.max_cost_micros,
        "budget_milliseconds": run.budget.max_milliseconds,
    }


def _run_of(row: Row[Any]) -> Run:
    return Run(
        id=row.id,
        owner_id=row.owner_id,
        actor_id=row.actor_id,
        conversation_id=row.conversation_id or "",
        kind=None if row.kind is None else WorkflowKind(row.kind),
        workflow_id=row.workflow_id,
        state=RunState(row.state),
        created_at=row.created_at,
        attempt=row.attempt,
        last_seq=row.last_seq,
        usage=usage_of_row(row),
        failure_reason=row.failure_reason,
        failure_message=row.failure_message,
        cancel_requested_at=row.cancel_requested_at,
        finished_at=row.finished_at,
        user_message_id=row.user_message_id,
        regeneration=row.regeneration,
        budget=Budget(
            max_tokens=row.budget_tokens,
            max_cost_micros=row.budget_cost_micros,
            max_milliseconds=row.budget_milliseconds,
        ),
    )
