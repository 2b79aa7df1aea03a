"""What a store guarantees of what has had its time: it goes when its time has come, and not before."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.core.housekeeping.duties import OWN_RUNS_KEPT, Cutoffs, Duty, Retention
from chatter_grpc.core.housekeeping.store import SYSTEM, EndedRun
from chatter_grpc.core.ids import REFRESH_TOKEN, RUN, SESSION, new_id
from chatter_grpc.core.pages import PageRequest
from chatter_grpc.core.requests import LIFETIME, RequestKey
from chatter_grpc.core.runs.compaction import compact_log
from chatter_grpc.core.runs.run import Run, RunState
from chatter_grpc.core.sessions import RefreshToken, Session
from chatter_grpc.core.storage import Storage
from chatter_grpc.core.users import UserFilter
from tests.support.housekeeping import PASS_INPUT, a_pass, is_due, rows_naming, store_laden_conversation, sweep
from tests.support.records import (
    LEASE,
    NOW,
    PROCESS,
    a_user,
    an_end,
    batch_of,
    finish_run,
    first_batch,
    last_batch,
    start_run,
    store_conversation,
    store_user,
)

DAY = timedelta(days=1)
MOMENT = timedelta(microseconds=1)


async def begin(storage: Storage, run: Run, earlier_than: datetime = NOW + 1000 * DAY) -> bool:
    async with storage.write() as tx:
        return await tx.housekeeping.begin(
            run, PASS_INPUT, first_batch(run), process_id=PROCESS, lease_seconds=LEASE, earlier_than=earlier_than
        )


async def one_pass(storage: Storage, began_at: datetime = NOW) -> Run:
    """Store a pass that ended well five seconds later."""
    run = a_pass(began_at)
    assert await begin(storage, run)
    end = an_end(finished_at=began_at + timedelta(seconds=5))
    assert await finish_run(storage, replace(run, last_seq=2), end, last_batch(run))
    return run


async def test_a_request_id_goes_when_it_has_expired(storage: Storage) -> None:
    user = await store_user(storage)
    key = RequestKey(owner_id=user.id, method="/m", request_id="r", payload_hash=b"")
    async with storage.write() as tx:
        await tx.requests.claim(key, "run_1", NOW)
        await tx.requests.claim(replace(key, request_id="later"), "run_2", NOW + DAY)
    assert not await sweep(storage, NOW + LIFETIME - MOMENT, Duty.REQUESTS)
    assert await sweep(storage, NOW + LIFETIME, Duty.REQUESTS) == Counter(requests=1)
    async with storage.write() as tx:
        earlier = await tx.requests.claim(replace(key, request_id="later"), "run_3", NOW + DAY)
    assert earlier is not None
    assert earlier.resource_id == "run_2"


def a_token(session: Session, at: datetime) -> RefreshToken:
    return RefreshToken(id=new_id(REFRESH_TOKEN), session_id=session.id, kid="k", issued_at=at, expires_at=at + 7 * DAY)


async def store_session(storage: Storage) -> tuple[Session, RefreshToken, RefreshToken]:
    """Store a session whose token was rotated after six days."""
    user = await store_user(storage)
    session = Session(id=new_id(SESSION), user_id=user.id, created_at=NOW, expires_at=NOW + 7 * DAY)
    first, second = a_token(session, NOW), a_token(session, NOW + 6 * DAY)
    async with storage.write() as tx:
        await tx.sessions.add(session, first)
        await tx.sessions.rotate(first.id, second, NOW + 6 * DAY)
    return session, first, second


async def test_a_refresh_token_goes_some_time_after_it_expired(storage: Storage) -> None:
    session, first, second = await store_session(storage)
    assert not await sweep(storage, NOW + 9 * DAY - MOMENT, Duty.REFRESH_TOKENS, Duty.SESSIONS)
    assert await sweep(storage, NOW + 9 * DAY, Duty.REFRESH_TOKENS, Duty.SESSIONS) == Counter(refresh_tokens=1)
    async with storage.read() as tx:
        assert await tx.sessions.get_token(first.id) is None
        assert await tx.sessions.get_token(second.id) == second
        assert await tx.sessions.get(session.id) is not None


async def test_a_token_goes_before_one_that_it_came_before_where_it_holds_for_a_shorter_time(storage: Storage) -> None:
    session, _, second = await store_session(storage)
    third = replace(a_token(session, NOW), expires_at=NOW + DAY)
    async with storage.write() as tx:
        await tx.sessions.rotate(second.id, third, NOW + 6 * DAY)
    assert await sweep(storage, NOW + 3 * DAY, Duty.REFRESH_TOKENS) == Counter(refresh_tokens=1)
    async with storage.read() as tx:
        left = await tx.sessions.get_token(second.id)
    assert left is not None
    assert (left.rotated_at, left.successor_id) == (NOW + 6 * DAY, None)


@pytest.mark.parametrize("revoked", [False, True])
async def test_a_session_goes_with_its_tokens_some_time_after_its_end(
    storage: Storage, database: Database, revoked: bool
) -> None:
    session, _, _ = await store_session(storage)
    end = NOW + 13 * DAY
    if revoked:
        end = NOW + DAY
        async with storage.write() as tx:
            assert await tx.sessions.revoke(session.id, end)
    assert not await sweep(storage, end + 2 * DAY - MOMENT, Duty.SESSIONS)
    assert await sweep(storage, end + 2 * DAY, Duty.SESSIONS) == Counter(sessions=1, refresh_tokens=2)
    assert not await rows_naming(database, [session.id])


@pytest.mark.parametrize(
    ("duty", "table", "insert", "over"),
    [
        (Duty.REVOCATIONS, "revocations", "(kind, target_id, at) VALUES ('user', 'u', :at)", 2 * DAY),
        (
            Duty.AUDIT,
            "audit_log",
            "(id, owner_id, actor_id, method, resource_kind, resource_id, outcome, call_id, address, at)"
            " VALUES ('a', '', '', '', '', '', '', '', '', :at)",
            365 * DAY,
        ),
        (Duty.OWNER_TURNS, "owner_turns", "(owner_id, claimed_at) VALUES (:user, :at)", DAY),
    ],
)
async def test_a_row_goes_when_it_is_old_enough(
    storage: Storage, database: Database, duty: Duty, table: str, insert: str, over: timedelta
) -> None:
    user = await store_user(storage)
    at = NOW if not database.is_sqlite else round(NOW.timestamp() * 1_000_000)
    async with database.writing() as statements:
        values = {name: value for name, value in {"at": at, "user": user.id}.items() if f":{name}" in insert}
        await statements.run(text(f"INSERT INTO {table} {insert}"), values)
    assert not await sweep(storage, NOW + over - MOMENT, duty)
    assert await sweep(storage, NOW + over, duty) == Counter({table: 1})


async def test_an_audit_log_that_is_kept_for_good_stays(storage: Storage, database: Database) -> None:
    async with database.writing() as statements:
        names = "id, owner_id, actor_id, method, resource_kind, resource_id, outcome, call_id, address, at"
        at = NOW if not database.is_sqlite else 0
        values = "'a', '', '', '', '', '', '', '', '', :at"
        await statements.run(text(f"INSERT INTO audit_log ({names}) VALUES ({values})"), {"at": at})
    cutoffs = Cutoffs.at(NOW + 9999 * DAY, Retention(audit=None))
    async with storage.write() as tx:
        assert not await tx.housekeeping.is_due(Duty.AUDIT, cutoffs)
        assert not Counter(await tx.housekeeping.remove(Duty.AUDIT, cutoffs, 9)).total()


async def test_counts_of_messages_go_when_their_month_is_over_everywhere(storage: Storage) -> None:
    user = await store_user(storage)
    month = NOW.date().replace(day=1)
    async with storage.write() as tx:
        for day in (month - DAY, month, NOW.date()):
            await tx.message_counts.add(user.id, day)
    start = datetime(NOW.year, NOW.month, 1, tzinfo=NOW.tzinfo)
    assert not await sweep(storage, start + DAY - MOMENT, Duty.MESSAGE_COUNTS)
    assert await sweep(storage, start + DAY, Duty.MESSAGE_COUNTS) == Counter(message_counts=1)
    async with storage.read() as tx:
        assert await tx.message_counts.month(user.id, NOW.date()) == 2


async def test_the_last_of_its_own_runs_are_kept(storage: Storage, database: Database) -> None:
    runs = [await one_pass(storage, NOW + number * DAY) for number in range(OWN_RUNS_KEPT + 2)]
    active = a_pass(NOW + 99 * DAY)
    assert await begin(storage, active)
    removed = await sweep(storage, NOW + 99 * DAY, Duty.OWN_RUNS)
    # The one that is at work is none of those that are kept.
    assert (removed["runs"], removed["run_inputs"], removed["run_log"]) == (2, 2, 4)
    assert not await rows_naming(database, [run.id for run in runs[:2]])
    assert (await rows_naming(database, [run.id for run in [*runs[2:], active]]))["runs"] == OWN_RUNS_KEPT + 1


async def test_one_pass_is_active_at_a_time(storage: Storage) -> None:
    first = a_pass()
    assert await begin(storage, first)
    assert not await begin(storage, a_pass(NOW + DAY))
    assert await finish_run(storage, replace(first, last_seq=2), last=last_batch(first))
    assert await begin(storage, a_pass(NOW + DAY))


async def test_of_processes_that_find_it_due_at_once_one_begins(storage: Storage) -> None:
    # The first time they wait for one another where they add the system's account, and for their connections.
    for number in range(4):
        runs = [a_pass(NOW + number * DAY) for _ in range(4)]
        begun = await asyncio.gather(*(begin(storage, run) for run in runs))
        assert sorted(begun) == [False, False, False, True]
        run = runs[begun.index(True)]
        assert await finish_run(storage, replace(run, last_seq=2), last=last_batch(run))


async def test_who_looked_too_long_ago_begins_nothing(storage: Storage) -> None:
    await one_pass(storage, NOW + DAY)
    assert not await begin(storage, a_pass(NOW + DAY), earlier_than=NOW + DAY)
    assert await begin(storage, a_pass(NOW + DAY), earlier_than=NOW + DAY + MOMENT)


async def test_passes_tell_when_the_latest_began_ended_and_succeeded(storage: Storage) -> None:
    async with storage.read() as tx:
        assert (await tx.housekeeping.passes()).began_at is None
    await one_pass(storage, NOW)
    failed = a_pass(NOW + DAY)
    assert await begin(storage, failed)
    async with storage.read() as tx:
        passes = await tx.housekeeping.passes()
    assert (passes.began_at, passes.ended_at, passes.completed_at) == (NOW + DAY, None, NOW + timedelta(seconds=5))
    end = an_end(state=RunState.FAILED, finished_at=NOW + 2 * DAY)
    assert await finish_run(storage, replace(failed, last_seq=2), end, last_batch(failed))
    async with storage.read() as tx:
        passes = await tx.housekeeping.passes()
    assert (passes.ended_at, passes.completed_at) == (NOW + 2 * DAY, NOW + timedelta(seconds=5))


async def test_the_system_is_nobody_that_anyone_can_find_or_be(storage: Storage) -> None:
    await begin(storage, a_pass())
    user = await store_user(storage)
    async with storage.write() as tx:
        assert [each.id for each in (await tx.users.list(UserFilter(), PageRequest())).items] == [user.id]
        assert await tx.users.get(SYSTEM) is None
        assert await tx.users.lock(SYSTEM) is None
        assert await tx.users.hold_active(SYSTEM) is None
        assert await tx.users.find("(system)") is None
        assert await tx.users.find("") is None
        assert SYSTEM not in await tx.users.lock_administrators()


async def test_accounts_without_an_email_address_are_no_less_welcome_beside_the_system(storage: Storage) -> None:
    await begin(storage, a_pass())
    service = a_user(email="")
    async with storage.write() as tx:
        await tx.users.add(service)
        assert await tx.users.get(service.id) == service


async def test_logs_to_compact_come_in_the_order_in_which_their_runs_ended(storage: Storage) -> None:
    conversation = await store_conversation(storage)
    ended = []
    for number in (3, 1, 2):
        run = await start_run(storage, conversation)
        end = an_end(finished_at=NOW + number * DAY)
        assert await finish_run(storage, run, end, batch_of(run, 3, [last_batch(run).entries[0].body]))
        ended.append(EndedRun(NOW + number * DAY, run.id))
    await start_run(storage, conversation)
    ended.sort()
    async with storage.write() as tx:
        found = tx.housekeeping.ended_runs
        assert await found(NOW + DAY - MOMENT, None, 9) == ()
        assert await found(NOW + 2 * DAY, None, 9) == tuple(ended[:2])
        assert await found(NOW + 9 * DAY, None, 2) == tuple(ended[:2])
        assert await found(NOW + 9 * DAY, ended[1], 9) == (ended[2],)
        await compact_log(tx, ended[0].id)
        assert await found(NOW + 9 * DAY, None, 9) == tuple(ended[1:])


async def test_what_a_run_needed_while_it_was_at_work_goes_and_its_log_stays(
    storage: Storage, database: Database
) -> None:
    _, ids = await store_laden_conversation(storage)
    run_ids = [each for each in ids if each.startswith(f"{RUN}_")]
    before = await rows_naming(database, run_ids)
    async with storage.write() as tx:
        removed = Counter(await tx.housekeeping.drop_scaffolding(run_ids[0]))
    gone = {"checkpoints": 1, "checkpoint_values": 1, "checkpoint_writes": 1, "reservations": 1}
    assert removed == Counter(gone)
    assert await rows_naming(database, run_ids) == before - removed


async def test_sizes_are_told_of_the_large_tables(storage: Storage, database: Database) -> None:
    async with storage.read() as tx:
        empty = await tx.housekeeping.sizes()
    for _ in range(3):
        await store_laden_conversation(storage)
    if not database.is_sqlite:
        async with database.writing() as statements:
            await statements.run(text("ANALYZE"))
    async with storage.read() as tx:
        sizes = await tx.housekeeping.sizes()
    rows = {size.table: size.rows for size in sizes.tables}
    async with database.reading() as statements:
        counted = {table: (await statements.rows(text(f"SELECT count(*) FROM {table}")))[0][0] for table in rows}
    # On SQLite rows are counted from the first to the last, those that are gone included.
    assert rows.pop("message_words") in ({24, 18} if database.is_sqlite else {18})
    counted.pop("message_words")
    assert rows == counted
    assert rows["messages"] == 24
    assert sizes.database_bytes >= empty.database_bytes > 0
    (log,) = [size.bytes for size in sizes.tables if size.table == "run_log"]
    assert log is not None
    assert log > 0


@pytest.mark.parametrize("duty", [each for each in Duty if each is not Duty.LOGS])
async def test_in_an_empty_database_nothing_is_due(storage: Storage, duty: Duty) -> None:
    assert not await is_due(storage, NOW + 9999 * DAY, duty)
    assert not await sweep(storage, NOW + 9999 * DAY, duty)
