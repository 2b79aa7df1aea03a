"""Housekeeping is a run: it does what is due, survives its process, ends in its time, and is nobody's."""

import asyncio
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.clock import utc_now
from chatter_grpc.core.conversations import PURGE_AFTER, Conversation
from chatter_grpc.core.errors import RunNotFound
from chatter_grpc.core.housekeeping.duties import Duty
from chatter_grpc.core.housekeeping.schedule import HousekeepingScheduler, Timetable
from chatter_grpc.core.housekeeping.store import SYSTEM
from chatter_grpc.core.pages import PageRequest
from chatter_grpc.core.runs.events import NodeFinished, NodeStarted
from chatter_grpc.core.runs.run import LogCommitter, LogPosition, Run, RunFilter, RunState
from chatter_grpc.core.storage import Storage
from tests.support.housekeeping import delete_conversation, is_due, rows_naming, store_laden_conversation
from tests.support.keepers import HeldStorage, Keeper
from tests.support.records import NOW
from tests.support.waiting import eventually, soon, until

LATER = NOW + PURGE_AFTER
FAR = NOW + timedelta(days=36500)
SYSTEM_CALLER = Caller(actor_id=SYSTEM, owner_id=SYSTEM, session_id="")


def later() -> datetime:
    return LATER


async def store_purgeable(storage: Storage, owner_id: str = "") -> tuple[Conversation, list[str]]:
    conversation, ids = await store_laden_conversation(storage, owner_id)
    await delete_conversation(storage, conversation, LATER)
    return conversation, ids


async def kept_house(keeper: Keeper) -> Run:
    """Have a process keep house and return the run that did."""
    run_id = await keeper.starts.start()
    assert run_id is not None
    return await keeper.ended(SYSTEM_CALLER, run_id)


async def steps_of(storage: Storage, run: Run) -> list[str]:
    """The kinds of work that a run did to their end."""
    async with storage.read() as tx:
        entries = await tx.runs.read_log(run.id, LogPosition(), 1 << 20)
    begun = [entry.body.node_id for entry in entries if isinstance(entry.body, NodeStarted)]
    assert begun == [entry.body.node_id for entry in entries if isinstance(entry.body, NodeFinished)]
    return begun


async def test_a_pass_does_all_that_is_due(storage: Storage, committer: LogCommitter, database: Database) -> None:
    _, ids = await store_purgeable(storage)
    kept, kept_ids = await store_laden_conversation(storage)
    async with Keeper(storage, committer, now=later) as keeper:
        run = await kept_house(keeper)
    assert run.state is RunState.COMPLETED
    assert await steps_of(storage, run) == [Duty.LOGS, Duty.REQUESTS, Duty.CONVERSATIONS, Duty.MESSAGES]
    assert set(await rows_naming(database, ids)) == {"audit_log"}
    # Messages, compacted logs, and what says what there is: nothing of what only a run at work needs.
    assert not set(await rows_naming(database, kept_ids)) & {"checkpoints", "reservations", "requests"}
    async with storage.read() as tx:
        # Its own log is for a later pass.
        assert [each.id for each in await tx.housekeeping.ended_runs(FAR, None, 9)] == [run.id]
        assert len((await tx.messages.list(kept.owner_id, kept.id, PageRequest(), newest_first=False)).items) == 6


async def test_a_pass_that_finds_nothing_says_little(storage: Storage, committer: LogCommitter) -> None:
    async with Keeper(storage, committer) as keeper:
        run = await kept_house(keeper)
    assert (run.state, run.last_seq, run.attempt) == (RunState.COMPLETED, 3, 1)
    assert await steps_of(storage, run) == []


async def test_no_caller_sees_a_pass(storage: Storage, committer: LogCommitter, caller: Caller) -> None:
    async with Keeper(storage, committer) as keeper:
        run = await kept_house(keeper)
        for refused in (
            keeper.runs.get(caller, run.id),
            keeper.runs.watch(caller, run.id),
            keeper.runs.cancel(caller, run.id),
        ):
            with pytest.raises(RunNotFound):
                await refused
        assert not (await keeper.runs.list(caller, RunFilter(), PageRequest())).items


async def test_a_pass_whose_process_died_is_gone_on_with(
    storage: Storage, committer: LogCommitter, database: Database
) -> None:
    _, ids = await store_purgeable(storage)
    held = HeldStorage(storage, portions=3)
    async with Keeper(storage, committer, now=later, held=held, name="one") as gone:
        run_id = await gone.starts.start()
        assert run_id is not None
        await soon(held.waiting.wait())
        # As far as the database knows, it is not heard of any more.
        async with storage.write() as tx:
            await tx.runs.expire_leases()
        async with Keeper(storage, committer, now=later, name="two") as keeper:
            assert await keeper.starts.start() is None
            await eventually(lambda: _reaped(keeper, run_id))
            run = await keeper.ended(SYSTEM_CALLER, run_id)
    assert (run.state, run.attempt) == (RunState.COMPLETED, 2)
    assert set(await rows_naming(database, ids)) == {"audit_log"}


async def test_a_server_that_stops_hands_its_pass_over_at_once(
    storage: Storage, committer: LogCommitter, database: Database
) -> None:
    _, ids = await store_purgeable(storage)
    held = HeldStorage(storage, portions=2)
    # However long it lets others' runs go on.
    async with Keeper(storage, committer, now=later, held=held, name="one", grace=1e6) as stopping:
        run_id = await stopping.starts.start()
        assert run_id is not None
        await soon(held.waiting.wait())
    async with Keeper(storage, committer, now=later, name="two") as keeper:
        await eventually(lambda: _reaped(keeper, run_id))
        run = await keeper.ended(SYSTEM_CALLER, run_id)
    assert (run.state, run.attempt) == (RunState.COMPLETED, 2)
    assert set(await rows_naming(database, ids)) == {"audit_log"}


async def _reaped(keeper: Keeper, run_id: str) -> bool:
    await keeper.reaper.reap()
    return (await keeper.run_of(SYSTEM_CALLER, run_id)).attempt == 2


async def test_a_pass_ends_in_its_time_and_leaves_the_rest(storage: Storage, committer: LogCommitter) -> None:
    await store_purgeable(storage)
    async with Keeper(storage, committer, now=later, time_limit=0.0) as keeper:
        run = await kept_house(keeper)
    assert run.state is RunState.COMPLETED
    assert await is_due(storage, LATER, Duty.CONVERSATIONS)


async def test_a_log_that_cannot_be_read_keeps_no_other_from_its_turn(
    storage: Storage, committer: LogCommitter, database: Database
) -> None:
    _, ids = await store_laden_conversation(storage)
    await store_laden_conversation(storage)
    broken = next(each for each in ids if each.startswith("run_"))
    async with database.writing() as statements:
        update = text("UPDATE run_log SET events = :events WHERE run_id = :run")
        await statements.run(update, {"events": b"?", "run": broken})
    async with Keeper(storage, committer, now=later) as keeper:
        run = await kept_house(keeper)
    assert run.state is RunState.COMPLETED
    async with storage.read() as tx:
        assert {each.id for each in await tx.housekeeping.ended_runs(FAR, None, 9)} == {broken, run.id}


async def test_of_two_processes_that_look_one_begins(storage: Storage, committer: LogCommitter) -> None:
    async with Keeper(storage, committer, name="one") as one, Keeper(storage, committer, name="two") as two:
        for _ in range(5):
            begun = await asyncio.gather(*(scheduler(each).look() for each in (one, two)))
            assert len([run_id for run_id in begun if run_id is not None]) == 1
            (run_id,) = filter(None, begun)
            await one.ended(SYSTEM_CALLER, run_id)


def scheduler(keeper: Keeper) -> HousekeepingScheduler:
    """A scheduler in whose opinion a pass is due at once."""
    return HousekeepingScheduler(
        keeper.storage, keeper.starts, Timetable(interval=1e-6), lambda: utc_now() + timedelta(seconds=1), None
    )


async def test_a_scheduler_begins_passes_until_it_is_cancelled(storage: Storage, committer: LogCommitter) -> None:
    async with Keeper(storage, committer) as keeper:
        looking = asyncio.create_task(
            HousekeepingScheduler(storage, keeper.starts, Timetable(interval=0.02), utc_now, None).run()
        )
        await eventually(lambda: _has_passes(storage, 3))
        looking.cancel()
        await asyncio.wait((looking,))
        await until(lambda: not keeper.supervisor.active_count)


async def _has_passes(storage: Storage, count: int) -> bool:
    async with storage.read() as tx:
        page = await tx.runs.list(SYSTEM, RunFilter(state=RunState.COMPLETED), PageRequest())
    return len(page.items) >= count
