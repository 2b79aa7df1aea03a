"""How PostgreSQL goes about logs that are read on: by their primary key, for each run, whatever else there is."""

import pytest
from sqlalchemy import Dialect, text
from sqlalchemy.dialects import postgresql

from chatter_grpc.adapters.sql import log_parts
from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.core.runs.run import LogPosition
from chatter_grpc.core.runs.run_logs import LogPlace

_FILL = """
    INSERT INTO run_log (run_id, attempt, last_seq, first_seq, size, events)
    SELECT 'run_' || run, 1, seq, seq, 1, '\\x00' FROM generate_series(1, 20) AS run, generate_series(1, 500) AS seq
"""


@pytest.mark.platform("T17")
@pytest.mark.parametrize("databases", ["postgres"], indirect=True)
@pytest.mark.parametrize("plan_mode", ["force_custom_plan", "force_generic_plan"])
async def test_each_log_is_found_in_the_primary_key_behind_its_position(database: Database, plan_mode: str) -> None:
    places = [LogPlace(f"run_{number}", LogPosition(1, 490)) for number in range(1, 11)]
    values = {**log_parts._as_arrays(places), "most": 2048, "rows": 65}
    dialect: Dialect = postgresql.asyncpg.dialect()  # type: ignore[no-untyped-call]
    written = log_parts._ON_POSTGRES.write(dialect, values)
    async with database.writing() as statements:
        await statements.run(text(_FILL))
    async with database.writing() as statements:
        await statements.run(text("ANALYZE run_log"))
        await statements.run(text(f"SET LOCAL plan_cache_mode = {plan_mode}"))
        driver = (await statements._connection.get_raw_connection()).driver_connection
        assert driver is not None
        rows = await driver.fetch(f"EXPLAIN (ANALYZE) {written.sql}", *written.parameters(values))
    plan = "\n".join(row[0] for row in rows)
    (condition,) = [line for line in plan.splitlines() if "Index Cond:" in line]
    assert "run_id = asked.run_id" in condition
    assert "ROW(attempt, last_seq) > ROW(asked.attempt, asked.seq)" in condition
    assert "pk_run_log" in plan
    assert "Seq Scan" not in plan, plan
