"""How SQLite goes about housekeeping: by its indexes, however much there is."""

from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import PrimaryKeyConstraint, Table, UniqueConstraint

from chatter_grpc.adapters.sql import schema
from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.adapters.sql.storage import SqlStorage, SqlTransaction
from chatter_grpc.core.conversations import PURGE_AFTER
from chatter_grpc.core.housekeeping.duties import Cutoffs, Duty, Retention
from chatter_grpc.core.housekeeping.store import EndedRun
from tests.support.housekeeping import delete_conversation, store_laden_conversation
from tests.support.plans import plans, sent
from tests.support.records import NOW

CUTOFFS = Cutoffs.at(NOW + PURGE_AFTER, Retention())
AFTER = EndedRun(NOW, "run_1")
# Lists that the statement brings along, rows that it has found before, and the sample of a log's runs.
OWN = (
    "SCAN json_each",
    "SCAN (subquery",
    "SCAN ends",
    "SCAN place",
    "SCAN sampled",
    "SCAN CONSTANT ROW",
    "SCAN pragma_",
)

Work = Callable[[SqlTransaction], Awaitable[object]]


def is_due(duty: Duty) -> Work:
    return lambda tx: tx.housekeeping.is_due(duty, CUTOFFS)


def remove(duty: Duty) -> Work:
    return lambda tx: tx.housekeeping.remove(duty, CUTOFFS, 9)


DUTIES = [duty for duty in Duty if duty is not Duty.LOGS]
WORK: dict[str, Work] = {
    **{f"whether {duty} are due": is_due(duty) for duty in DUTIES},
    **{f"{duty} that go": remove(duty) for duty in DUTIES},
    "logs to compact": lambda tx: tx.housekeeping.ended_runs(NOW, None, 9),
    "more logs to compact": lambda tx: tx.housekeeping.ended_runs(NOW, AFTER, 9),
    "scaffolding that goes": lambda tx: tx.housekeeping.drop_scaffolding("run_1"),
    "passes": lambda tx: tx.housekeeping.passes(),
    "sizes": lambda tx: tx.housekeeping.sizes(),
}


@pytest.mark.platform("T17")
@pytest.mark.parametrize("databases", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", WORK)
async def test_no_table_is_read_from_one_end_to_the_other(database: Database, name: str) -> None:
    storage = SqlStorage(database)
    conversation, _ = await store_laden_conversation(storage)
    await delete_conversation(storage, conversation, NOW)
    async with storage.write() as tx:
        with sent(database) as seen:
            await WORK[name](tx)
    assert seen
    for statement, plan in plans(database, seen):
        assert not [step for step in plan if step.startswith("SCAN") and not step.startswith(OWN)], (statement, plan)


def test_what_hangs_on_a_row_that_goes_is_looked_up_in_an_index() -> None:
    """A database looks for rows that refer to one that goes, which no plan shows: there has to be an index for each."""
    unindexed = [
        (table.name, reference.parent.name)
        for table in schema.METADATA.sorted_tables
        for reference in table.foreign_keys
        # Owners and accounts never go.
        if reference.column.table.name not in {"owners", "users"} and reference.parent.name not in first_columns(table)
    ]
    assert unindexed == []


def first_columns(table: Table) -> set[str]:
    """The columns that an index of a table begins with."""
    unique = [each for each in table.constraints if isinstance(each, PrimaryKeyConstraint | UniqueConstraint)]
    return {next(iter(each.columns)).name for each in (*table.indexes, *unique)}
