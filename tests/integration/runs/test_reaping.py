"""Leases and the reaper: what a process that went away left is gone on with, once, and nothing else is touched."""

import asyncio
import time
from dataclasses import replace

import pytest
from sqlalchemy import text

from chatter_grpc.adapters.models.scripted import CallState, Gate, Pause, ScriptedChat
from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.clock import utc_now
from chatter_grpc.core.conversations import Conversation
from chatter_grpc.core.models import Finished, FinishReason, TextPiece
from chatter_grpc.core.runs.run import LogCommitter, RunState
from chatter_grpc.core.runs.supervisor import RunSettings
from chatter_grpc.core.storage import Storage
from chatter_grpc.core.usage import Usage, estimate_tokens
from tests.support.catalogues import MODEL, Catalogue
from tests.support.executors import ONE, TwoMessages
from tests.support.lost_runs import expire, lost_run, lost_runs, scripted
from tests.support.records import start_run, store_conversation
from tests.support.replicas import Client, Process, stored_fold, stored_messages
from tests.support.taking import take_lost
from tests.support.waiting import eventually, soon, until

STOP = Finished(FinishReason.STOP)


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_lost_run_keeps_the_messages_that_had_finished(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation, cancelled: bool
) -> None:
    async with Process(storage, committer, scripted(), executor=TwoMessages()) as gone:
        run_id = await gone.send(caller, conversation.id)
        client = Client(await gone.runs.watch(caller, run_id), caller)
        async with client.reader:
            while "half" not in (message.text for message in client.fold.messages.values()):
                await client.read()
        await gone.until_committed(run_id)
        gone.lose_database()
    async with Process(storage, committer, scripted(), name="b", executor=TwoMessages()) as reaping:
        if cancelled:
            async with storage.write() as tx:
                await tx.runs.request_cancel((run_id,), utc_now())
        assert await reaping.reaper.reap() == 0, "its lease still holds"
        client.reader = await reaping.runs.watch(caller, run_id, client.cursor)
        watching = asyncio.create_task(client.read_to_end())
        await expire(storage)
        await reaping.take_over()
        fold = await soon(watching)
        late = await reaping.follow(caller, run_id)
        run = await reaping.run_of(caller, run_id)
    assert (fold.end, run.state.value) == (("cancelled",) * 2 if cancelled else ("completed",) * 2)
    _, *answers = await stored_messages(storage, caller, conversation.id)
    assert [each.text for each in answers] == (["whole"] if cancelled else ["whole", "the rest"])
    assert (answers[0].usage, answers[0].model) == (ONE, MODEL)
    assert fold.stored == late.stored == {each.id: each.text for each in answers}
    begun = Usage(output_tokens=estimate_tokens("half"), cost_micros=None, estimated=True)
    expected = ONE + begun if cancelled else ONE + begun + ONE
    assert (run.usage, run.attempt) == (expected, 2), "what was begun has cost something, nobody knows how much"
    assert (fold.attempt, fold.seq) == (2, run.last_seq)
    assert {key: message.text for key, message in (await stored_fold(storage, run_id)).messages.items()} == fold.stored


async def test_a_lost_run_is_gone_on_with_and_its_conversation_is_free_again(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    run_id = await lost_run(storage, committer, caller, conversation.id)
    async with Process(storage, committer, scripted()) as here:
        await here.take_over()
        fold = await here.follow(caller, run_id)
        assert (fold.end, fold.attempt, list(fold.stored.values())) == ("completed", 2, ["A"])
        assert (await here.answer(caller, conversation.id)).end == "completed"


async def test_all_lost_runs_are_taken_however_many_are_taken_at_a_time(
    storage: Storage, committer: LogCommitter, caller: Caller
) -> None:
    run_ids = await lost_runs(storage, committer, caller, 5)
    async with Process(storage, committer, scripted()) as here:
        here.reaper = replace(here.reaper, limit=2)
        await here.take_over(5)
        for run_id in run_ids:
            assert (await here.ended(caller, run_id)).state is RunState.COMPLETED


async def test_reapers_that_race_take_each_run_once(storage: Storage, committer: LogCommitter, caller: Caller) -> None:
    run_ids = await lost_runs(storage, committer, caller, 6)
    async with (
        Process(storage, committer, scripted()) as here,
        Process(storage, committer, scripted(), name="b") as there,
    ):
        counts = await asyncio.gather(*(replace(each.reaper, limit=2).reap() for each in (here, there, here, there)))
        await here.take_over(6 - sum(counts)) if sum(counts) < 6 else None
        for run_id in run_ids:
            assert (await here.ended(caller, run_id)).attempt == 2


async def test_a_run_that_cannot_be_prepared_fails_and_keeps_no_other_from_its_turn(
    storage: Storage, committer: LogCommitter, database: Database, caller: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    broken, gone, sound = await lost_runs(storage, committer, caller, 3)
    async with database.writing() as statements:
        await statements.run(
            text("UPDATE run_log SET events = :events WHERE run_id = :run"), {"events": b"\xff", "run": broken}
        )
    async with storage.write() as tx:
        run = await tx.runs.get(caller.owner_id, gone)
        await tx.messages.remove(
            caller.owner_id, await tx.messages.get(caller.owner_id, run.user_message_id), utc_now()
        )
    async with Process(storage, committer, scripted()) as here:
        await here.take_over(3)
        assert (await here.ended(caller, sound)).state is RunState.COMPLETED
        assert (await here.ended(caller, broken)).failure_reason == "INTERNAL"
        assert (await here.ended(caller, gone)).failure_reason == "MESSAGE_NOT_FOUND"
    assert "run_fault" in caplog.messages


async def test_a_run_of_a_kind_that_a_later_version_brought_is_left_to_it_and_keeps_no_other_from_its_turn(
    storage: Storage, committer: LogCommitter, database: Database, caller: Caller
) -> None:
    later, known = await lost_runs(storage, committer, caller, 2)
    async with database.writing() as statements:
        await statements.run(text("UPDATE runs SET kind = 'later' WHERE id = :run"), {"run": later})
    async with Process(storage, committer, scripted()) as here:
        await here.take_over()
        assert (await here.ended(caller, known)).state is RunState.COMPLETED
        async with storage.read() as tx:
            assert not await tx.runs.any_lost()


async def test_a_reaper_that_is_cut_off_in_the_middle_leaves_the_rest_for_later(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    run_id = await lost_run(storage, committer, caller, conversation.id)
    async with Process(storage, committer, scripted()) as here:

        def cut_off() -> None:
            here.faults.at_commit = lambda: None
            asyncio.get_running_loop().call_soon(lambda: setattr(here.faults, "away", True))

        here.faults.at_commit = cut_off
        await soon(replace(here.reaper, give_up_after=0.01).reap())
        assert not here.supervisor.active_count
        here.faults.away = False
        assert await here.reaper.reap() == 0, "it holds a lease again"
        await expire(storage)
        await here.take_over()
        assert (await here.ended(caller, run_id)).attempt == 3


async def test_a_reaper_that_loses_a_run_to_another_does_not_touch_it(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    run_id = await lost_run(storage, committer, caller, conversation.id)
    gate = Gate(asyncio.Event())
    async with Process(storage, committer, scripted(gate, TextPiece("A"), STOP)) as here:
        (slow,) = await take_lost(storage, 1, lease=0)
        await here.take_over()
        await until(lambda: (tail := here.supervisor.tail(run_id)) is not None and tail.attempt == 3)
        await here.reaper._go_on(slow, time.monotonic())
        tail = here.supervisor.tail(run_id)
        assert tail is not None
        assert (tail.attempt, tail.lost) == (3, False), "the later attempt stays"
        gate.event.set()
        assert (await here.ended(caller, run_id)).attempt == 3
        assert (await here.follow(caller, run_id)).end == "completed"


async def test_a_reaper_outlives_a_database_that_is_away(
    storage: Storage,
    committer: LogCommitter,
    caller: Caller,
    conversation: Conversation,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run_id = await lost_run(storage, committer, caller, conversation.id)
    async with Process(storage, committer, scripted()) as here:
        here.faults.away = True
        reaping = asyncio.create_task(replace(here.reaper, interval=0.002).run())
        await until(lambda: "reaper_failed" in caplog.messages)
        here.faults.away = False
        assert (await here.ended(caller, run_id)).state is RunState.COMPLETED
        reaping.cancel()
        await asyncio.wait((reaping,))


async def test_a_run_that_is_taken_from_a_process_stops_there_at_once(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    words = [step for number in range(5000) for step in (TextPiece(f"{number} "), Pause(0.001))]
    chat = ScriptedChat([*words, STOP])
    async with (
        Process(storage, committer, Catalogue({"model": chat})) as slow,
        Process(storage, committer, scripted(), name="b") as reaping,
    ):
        run_id = await slow.send(caller, conversation.id)
        watching = slow.follow_along(caller, run_id)
        await slow.until_written(run_id, 10)
        await expire(storage)
        await reaping.take_over()
        await until(lambda: chat.calls[0].state is CallState.CLOSED)
        client = await soon(watching)
        await until(lambda: not slow.supervisor.active_count)
        run = await slow.run_of(caller, run_id)
    assert (client.end, list(client.stored.values()), run.attempt) == ("completed", ["A"], 2)
    assert len(await stored_messages(storage, caller, conversation.id)) == 2
    assert (await stored_fold(storage, run_id)).end is not None


async def test_a_run_that_was_taken_while_its_model_was_silent_cannot_end_itself(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    gate = asyncio.Event()
    silent = scripted(TextPiece("Hel"), Gate(gate), TextPiece("lo"), STOP)
    async with Process(storage, committer, silent) as slow, Process(storage, committer, scripted(), name="b") as there:
        run_id = await slow.send(caller, conversation.id)
        watching = slow.follow_along(caller, run_id)
        await slow.until_written(run_id)
        await expire(storage)
        await there.take_over()
        gate.set()
        client = await soon(watching)
        await until(lambda: not slow.supervisor.active_count)
    assert (client.end, client.attempt, list(client.stored.values())) == ("completed", 2, ["A"])
    assert len(await stored_messages(storage, caller, conversation.id)) == 2


async def lease_of(database: Database, run_id: str) -> object:
    async with database.reading() as statements:
        row = await statements.row(text("SELECT lease_expires_at AS at FROM runs WHERE id = :run"), {"run": run_id})
        assert row is not None
        return row.at


async def renewed(database: Database, run_id: str) -> None:
    before = await lease_of(database, run_id)

    async def has_changed() -> bool:
        return await lease_of(database, run_id) != before

    await eventually(has_changed)


async def test_leases_are_renewed_of_runs_at_work_and_of_no_others(
    storage: Storage, committer: LogCommitter, database: Database, caller: Caller, conversation: Conversation
) -> None:
    orphan = await start_run(storage, await store_conversation(storage, caller.owner_id), process_id="process")
    async with Process(
        storage, committer, scripted(Gate(asyncio.Event()), STOP), runs=RunSettings(renew=0, cancel_poll=0.01)
    ) as here:
        run_id = await here.send(caller, conversation.id)
        left = await lease_of(database, orphan.id)
        await renewed(database, run_id)
        await renewed(database, run_id)
        assert await lease_of(database, orphan.id) == left, "a run that nobody works on must reach the reaper"


async def test_housekeeping_outlives_a_database_that_is_away(
    storage: Storage,
    committer: LogCommitter,
    database: Database,
    caller: Caller,
    conversation: Conversation,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Process(
        storage, committer, scripted(Gate(asyncio.Event()), STOP), runs=RunSettings(renew=0, cancel_poll=0.01)
    ) as here:
        run_id = await here.send(caller, conversation.id)
        await here.until_written(run_id, 3)
        here.faults.away = True
        await until(lambda: "run_housekeeping_failed" in caplog.messages)
        here.faults.away = False
        await renewed(database, run_id)
