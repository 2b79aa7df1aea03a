"""Reads on in the logs of many runs at once, with one statement.

It finds the rows that come next in each of them, so it tells for each, by itself, a log that was compacted from one as
it was written: see ``run_log``.
"""

import asyncio
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import ARRAY, BigInteger, Boolean, Integer, LargeBinary, Text, bindparam, text

from chatter_grpc.adapters.sql.log_codec import decode_compacted, is_compacted
from chatter_grpc.adapters.sql.run_log import entries_of
from chatter_grpc.adapters.sql.statements import Prepared, Statements
from chatter_grpc.core.runs.events import Entry
from chatter_grpc.core.runs.run import LogPosition
from chatter_grpc.core.runs.run_logs import SNAPSHOT, LogPart, LogPlace

# Hardly a batch is smaller, in bytes. No more rows are looked at than have room in a part then, and one behind them.
_LEAST: Final = 32
_MOST_ROWS: Final = 500
# So many bytes are decoded before others have their turn: the work of a millisecond.
_AT_ONCE: Final = 32 * 1024
_COLUMNS: Final[Any] = {
    "place": Integer(),
    "attempt": BigInteger(),
    "first_seq": BigInteger(),
    "last_seq": BigInteger(),
    "events": LargeBinary(),
    "more": Boolean(),
}
# For each place the rows behind it are found in the primary key, one after the other and no more than may be needed.
_ON_POSTGRES: Final = Prepared(
    text("""
    SELECT asked.place, found.attempt, found.first_seq, found.last_seq, found.events, found.more
    FROM unnest(CAST(:runs AS text[]), CAST(:attempts AS bigint[]), CAST(:seqs AS bigint[]))
        WITH ORDINALITY AS asked (run_id, attempt, seq, place)
    CROSS JOIN LATERAL (
        SELECT near.*, sum(size) OVER behind AS total, lead(size) OVER behind IS NOT NULL AS more
        FROM (
            SELECT attempt, first_seq, last_seq, size, events FROM run_log
            WHERE run_id = asked.run_id AND (attempt, last_seq) > (asked.attempt, asked.seq)
            ORDER BY attempt, last_seq LIMIT CAST(:rows AS bigint)
        ) AS near
        WINDOW behind AS (ORDER BY attempt, last_seq)
    ) AS found
    WHERE found.total <= CAST(:most AS bigint) OR found.total = found.size
    ORDER BY asked.place, found.attempt, found.last_seq
    """)
    .bindparams(bindparam("runs", type_=ARRAY(Text())))
    .bindparams(bindparam("attempts", type_=ARRAY(BigInteger())), bindparam("seqs", type_=ARRAY(BigInteger())))
    .columns(**_COLUMNS)
)
# SQLite knows no LATERAL, but rows that are among those that a query for each place finds.
# Sizes decide which rows belong to an answer: the events of no others are read. The driver takes the interpreter's lock
# anew for each row, and waits for a busy event loop each time; so what one place finds comes in one row, as JSON.
_ON_SQLITE: Final = Prepared(
    text("""
    SELECT summed.place, json_group_array(
        json_array(summed.attempt, summed.last_seq, whole.first_seq, hex(whole.events), summed.more)
    ) AS batches
    FROM (
        SELECT asked.key + 1 AS place, log.run_id, log.attempt, log.last_seq, log.size,
            sum(log.size) OVER behind AS total, lead(log.size) OVER behind IS NOT NULL AS more
        FROM json_each(:places) AS asked CROSS JOIN run_log AS log
        WHERE log.run_id = json_extract(asked.value, '$[0]') AND (log.attempt, log.last_seq) IN (
            SELECT near.attempt, near.last_seq FROM run_log AS near
            WHERE near.run_id = json_extract(asked.value, '$[0]') AND (near.attempt, near.last_seq)
                > (json_extract(asked.value, '$[1]'), json_extract(asked.value, '$[2]'))
            ORDER BY near.attempt, near.last_seq LIMIT :rows
        )
        WINDOW behind AS (PARTITION BY asked.key ORDER BY log.attempt, log.last_seq)
    ) AS summed CROSS JOIN run_log AS whole
    WHERE (summed.total <= :most OR summed.total = summed.size)
        AND whole.run_id = summed.run_id AND whole.attempt = summed.attempt AND whole.last_seq = summed.last_seq
    GROUP BY summed.place ORDER BY summed.place
    """).columns(place=Integer(), batches=Text())
)


class _Found(NamedTuple):
    """A row of the log, with whether there are more behind it."""

    attempt: int
    last_seq: int
    first_seq: int
    events: bytes
    more: bool


_BATCHES: Final = msgspec.json.Decoder(list[tuple[int, int, int, str, int]])


async def read_parts(statements: Statements, places: Sequence[LogPlace], max_bytes: int) -> Sequence[LogPart]:
    """Return what comes after each of the places, see ``RunLogStore.read_many``."""
    most_rows = min(_MOST_ROWS, max_bytes // _LEAST + 1) + 1
    parts = [LogPart([]) for _ in places]
    decoded = 0
    for number, group in await _find(statements, places, {"most": max_bytes, "rows": most_rows}):
        # What may lie behind the last row that was looked at is not known; that it is there itself is.
        rows = group[: most_rows - 1]
        parts[number - 1] = _part_of(rows, places[number - 1].after, more=rows[-1].more)
        decoded += sum(len(row.events) for row in rows)
        if decoded >= _AT_ONCE:
            decoded = 0
            await asyncio.sleep(0)
    return parts


async def _find(
    statements: Statements, places: Sequence[LogPlace], bounds: dict[str, int]
) -> list[tuple[int, list[_Found]]]:
    """Return the rows behind each place that has any, in order; places are numbered from 1."""
    if statements.dialect == "sqlite":
        found = await statements.rows(_ON_SQLITE, {**_as_json(places), **bounds})
        return [(row.place, _read_batches(row.batches)) for row in found]
    found = await statements.rows(_ON_POSTGRES, {**_as_arrays(places), **bounds})
    rows = ((row.place, _Found(row.attempt, row.last_seq, row.first_seq, row.events, row.more)) for row in found)
    return [(number, [row for _, row in group]) for number, group in groupby(rows, key=itemgetter(0))]


def _read_batches(batches: str) -> list[_Found]:
    """Return the rows of one place; the order of an aggregate's parts is not promised."""
    return [
        _Found(attempt, last_seq, first_seq, bytes.fromhex(events), bool(more))
        for attempt, last_seq, first_seq, events, more in sorted(_BATCHES.decode(batches))
    ]


def _as_json(places: Sequence[LogPlace]) -> dict[str, Any]:
    rows = [(run_id, _attempt_of(after), after.seq) for run_id, after in places]
    return {"places": msgspec.json.encode(rows).decode()}


def _as_arrays(places: Sequence[LogPlace]) -> dict[str, Any]:
    return {
        "runs": [run_id for run_id, _ in places],
        "attempts": [_attempt_of(after) for _, after in places],
        "seqs": [after.seq for _, after in places],
    }


def _attempt_of(after: LogPosition) -> int:
    """Return the attempt under which the rows are stored that follow a position."""
    return 0 if after.attempt == SNAPSHOT else after.attempt


def _part_of(rows: Sequence[_Found], after: LogPosition, *, more: bool) -> LogPart:
    if not is_compacted(rows[0].events):
        return LogPart(entries_of(rows, LogPosition(_attempt_of(after), after.seq)), None, more)
    entries: list[Entry] = []
    compacted = 0
    for row in rows:
        batch, compacted = decode_compacted(row.events, row.first_seq)
        entries += batch
    if after.attempt == SNAPSHOT:
        entries = [entry.after(after.seq) for entry in entries if entry.seq > after.seq]
    elif after.attempt != rows[0].attempt or after.seq < compacted:
        return LogPart([], compacted)
    return LogPart(entries, compacted, more)
