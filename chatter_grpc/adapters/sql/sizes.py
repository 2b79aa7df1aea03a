"""Tells how large the database and its large tables are, without reading any of them in whole."""

from typing import Final

from sqlalchemy import text

from chatter_grpc.adapters.sql.statements import Statements
from chatter_grpc.core.housekeeping.store import Sizes, TableSize

LOG: Final = "run_log"
# Those that grow with what is said, each with an index of row numbers on SQLite but for the log.
TABLES: Final = ("conversations", "messages", "message_images", "message_words", "runs", "requests", "audit_log")
# So many runs' logs are looked at on SQLite, evenly over all.
SAMPLED: Final = 32

_POSTGRES: Final = text(
    "SELECT relname, CAST(reltuples AS bigint) AS rows, pg_total_relation_size(oid) AS bytes FROM pg_class "
    "WHERE relnamespace = CAST(current_schema() AS regnamespace) AND relname = ANY(:tables)"
)
_POSTGRES_WHOLE: Final = text("SELECT pg_database_size(current_database())")
_SQLITE_WHOLE: Final = text("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")
# From the first row's number to the last one's: no row has to be counted for it, and gaps are few.
_ROWS: Final = "(SELECT max(rowid) FROM {table}) - (SELECT min(rowid) FROM {table}) + 1"
_SQLITE_ROWS: Final = text("SELECT " + ", ".join(f"{_ROWS.format(table=table)} AS {table}" for table in TABLES))
_SQLITE_LOG: Final = text(
    f"""
    WITH RECURSIVE
        place(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM place WHERE n < {SAMPLED - 1}),
        ends(first, last) AS (SELECT (SELECT min(rowid) FROM runs), (SELECT max(rowid) FROM runs)),
        sampled(id) AS (
            SELECT DISTINCT (
                SELECT id FROM runs WHERE rowid >= first + (last - first) * n / {SAMPLED - 1} ORDER BY rowid LIMIT 1
            ) FROM ends, place WHERE first IS NOT NULL
        )
    SELECT count(*) AS runs,
        coalesce(sum((SELECT count(*) FROM run_log WHERE run_id = sampled.id)), 0) AS rows,
        coalesce(sum((SELECT sum(size) FROM run_log WHERE run_id = sampled.id)), 0) AS bytes
    FROM sampled
    """  # noqa: S608 - names and numbers of our own
)


async def read_sizes(statements: Statements) -> Sizes:
    """Return the sizes; those of tables are estimates."""
    return await (_sizes_on_sqlite if statements.dialect == "sqlite" else _sizes_on_postgres)(statements)


async def _sizes_on_postgres(statements: Statements) -> Sizes:
    rows = await statements.rows(_POSTGRES, {"tables": [*TABLES, LOG]})
    tables = tuple(
        # What was never analysed is of no known number.
        TableSize(table=row.relname, rows=None if row.rows < 0 else row.rows, bytes=row.bytes)
        for row in rows
    )
    return Sizes(database_bytes=(await statements.run(_POSTGRES_WHOLE)).scalar_one(), tables=tables)


async def _sizes_on_sqlite(statements: Statements) -> Sizes:
    counted = (await statements.run(_SQLITE_ROWS)).one()
    sampled = (await statements.run(_SQLITE_LOG)).one()
    share = (counted.runs or 0) / (sampled.runs or 1)
    log = TableSize(table=LOG, rows=round(sampled.rows * share), bytes=round(sampled.bytes * share))
    # What a table takes of the file is known only to those who read all of it.
    tables = (*(TableSize(table=name, rows=getattr(counted, name) or 0, bytes=None) for name in TABLES), log)
    return Sizes(database_bytes=(await statements.run(_SQLITE_WHOLE)).scalar_one(), tables=tables)
