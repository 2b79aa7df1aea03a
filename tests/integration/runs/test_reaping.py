"""Leases and the reaper: what a process that went away left is ended, once, and nothing else is touched."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import text

from chatter_grpc._gen.chatter.v1 import error_reason_pb2
from chatter_grpc.adapters.models.scripted import CallState, Gate, Pause, ScriptedChat, Step, answer_script
from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.clock import utc_now
from chatter_grpc.core.conversations import Conversation
from chatter_grpc.core.errors import StorageUnavailable
from chatter_grpc.core.models import Finished, FinishReason, TextPiece
from chatter_grpc.core.runs.executor import Work
from chatter_grpc.core.runs.run import LogCommitter, RunState
from chatter_grpc.core.runs.supervisor import RunSettings
from chatter_grpc.core.runs.writer import RunWriter
from chatter_grpc.core.storage import Storage
from chatter_grpc.core.usage import Usage, estimate_tokens
from tests.support.catalogues import MODEL, Catalogue
from tests.support.records import start_run, store_conversation
from tests.support.replicas import Client, Process, stored_fold, stored_messages
from tests.support.waiting import eventually, soon, until

STOP = Finished(FinishReason.STOP)
USAGE = Usage(input_tokens=1, output_tokens=2, cost_micros=3)


def scripted(*steps: Step) -> Catalogue:
    return Catalogue({"model": ScriptedChat(steps or answer_script("A"), answer_script("A"))})


async def expire(storage: Storage) -> None:
    async with storage.write() as tx:
        await tx.runs.expire_leases()


class TwoMessages:
    """An executor that finishes one message, begins another one, and hangs there."""

    async def execute(self, work: Work, writer: RunWriter) -> None:
        first = writer.open_step("first", "model")
        message = first.start_message(MODEL, "scripted")
        message.add_text("whole")
        message.finish(FinishReason.STOP, USAGE)
        first.finish()
        second = writer.open_step("second", "model").start_message(MODEL, "scripted")
        second.add_text("half")
        await asyncio.Event().wait()


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_lost_run_is_ended_with_the_messages_that_had_finished(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation, cancelled: bool
) -> None:
    async with Process(storage, committer, scripted(), executor=TwoMessages()) as gone:
        run_id = await gone.send(caller, conversation.id)
        client = Client(await gone.runs.watch(caller, run_id), caller)
        async with client.reader:
            while "half" not in (message.text for message in client.fold.messages.values()):
                await client.read()
        gone.lose_database()
    async with Process(storage, committer, scripted(), name="b") as reaping:
        if cancelled:
            async with storage.write() as tx:
                await tx.runs.request_cancel((run_id,), utc_now())
        assert await reaping.reaper.reap() == 0, "its lease still holds"
        client.reader = await reaping.runs.watch(caller, run_id, client.cursor)
        watching = asyncio.create_task(client.read_to_end())
        await expire(storage)
        assert await reaping.reaper.reap() == 1
        fold = await soon(watching)
        late = await reaping.follow(caller, run_id)
        run = await reaping.run_of(caller, run_id)
    assert (fold.end, run.state.value) == (("cancelled",) * 2 if cancelled else ("failed",) * 2)
    assert run.failure_reason == ("" if cancelled else "RUN_INTERRUPTED")
    _, answer = await stored_messages(storage, caller, conversation.id)
    assert (answer.text, answer.usage, answer.model) == ("whole", USAGE, MODEL)
    assert fold.stored == late.stored == {answer.id: "whole"}
    begun = Usage(output_tokens=estimate_tokens("half"), cost_micros=None, estimated=True)
    assert (run.usage, run.attempt) == (USAGE + begun, 2), "what was begun has cost something, nobody knows how much"
    assert (fold.attempt, fold.seq) == (2, run.last_seq)
    assert {key: message.text for key, message in (await stored_fold(storage, run_id)).messages.items()} == fold.stored


async def test_the_conversation_of_a_lost_run_is_free_again(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    await start_run(storage, conversation, process_id="gone", lease=0)
    async with Process(storage, committer, scripted()) as here:
        assert await here.reaper.reap() == 1
        assert (await here.answer(caller, conversation.id)).end == "completed"


async def test_all_lost_runs_are_ended_however_many_are_taken_at_a_time(
    storage: Storage, committer: LogCommitter, caller: Caller
) -> None:
    runs = [
        await start_run(storage, await store_conversation(storage, caller.owner_id), process_id="gone", lease=0)
        for _ in range(5)
    ]
    async with Process(storage, committer, scripted()) as here:
        assert await replace(here.reaper, limit=2).reap() == 5
        for run in runs:
            assert (await here.run_of(caller, run.id)).state is RunState.FAILED


async def test_reapers_that_race_end_each_run_once(storage: Storage, committer: LogCommitter, caller: Caller) -> None:
    for _ in range(6):
        await start_run(storage, await store_conversation(storage, caller.owner_id), process_id="gone", lease=0)
    async with (
        Process(storage, committer, scripted()) as here,
        Process(storage, committer, scripted(), name="b") as there,
    ):
        counts = await asyncio.gather(*(replace(each.reaper, limit=2).reap() for each in (here, there, here, there)))
    assert sum(counts) == 6


async def test_a_run_that_cannot_be_ended_keeps_no_other_from_its_end(
    storage: Storage, committer: LogCommitter, database: Database, caller: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    broken = await start_run(storage, await store_conversation(storage, caller.owner_id), process_id="gone", lease=0)
    sound = await start_run(storage, await store_conversation(storage, caller.owner_id), process_id="gone", lease=0)
    async with database.writing() as statements:
        await statements.run(
            text("UPDATE run_log SET events = :events WHERE run_id = :run"), {"events": b"\xff", "run": broken.id}
        )
    async with Process(storage, committer, scripted()) as here:
        assert await here.reaper.reap() == 1
        assert (await here.run_of(caller, sound.id)).state is RunState.FAILED
        assert (await here.run_of(caller, broken.id)).state is RunState.RUNNING
    assert "run_reap_fault" in caplog.messages


async def test_a_reaper_that_is_cut_off_in_the_middle_leaves_the_rest_for_later(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    run = await start_run(storage, conversation, process_id="gone", lease=0)
    async with Process(storage, committer, scripted()) as here:

        def cut_off() -> None:
            here.faults.at_commit = lambda: setattr(here.faults, "away", True)

        here.faults.at_commit = cut_off
        reaping = asyncio.create_task(replace(here.reaper, give_up_after=0.01).reap())
        with pytest.raises(StorageUnavailable):
            await soon(reaping)
        here.faults.away, here.faults.at_commit = False, lambda: None
        assert await here.reaper.reap() == 0, "it holds a lease again"
        await expire(storage)
        assert await here.reaper.reap() == 1
        assert (await here.run_of(caller, run.id)).attempt == 3


async def test_a_reaper_that_loses_a_run_to_another_does_not_end_it(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    run = await start_run(storage, conversation, process_id="gone", lease=0)
    async with Process(storage, committer, scripted()) as here:
        async with storage.write() as tx:
            (taken,) = await tx.runs.take_lost("slow", 0, 1)
        assert await here.reaper.reap() == 1
        assert not await here.reaper._end(taken)
        assert (await here.run_of(caller, run.id)).attempt == 3
        assert (await here.follow(caller, run.id)).end == "failed"


async def test_a_reaper_outlives_a_database_that_is_away(
    storage: Storage,
    committer: LogCommitter,
    caller: Caller,
    conversation: Conversation,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = await start_run(storage, conversation, process_id="gone", lease=0)
    async with Process(storage, committer, scripted()) as here:
        here.faults.away = True
        reaping = asyncio.create_task(replace(here.reaper, interval=0.002).run())
        await until(lambda: "reaper_failed" in caplog.messages)
        here.faults.away = False
        assert (await here.ended(caller, run.id)).state is RunState.FAILED
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
        assert await reaping.reaper.reap() == 1
        await until(lambda: chat.calls[0].state is CallState.CLOSED)
        client = await soon(watching)
        await until(lambda: not slow.supervisor.active_count)
        run = await slow.run_of(caller, run_id)
    assert (client.end, client.stored, run.attempt) == ("failed", {}, 2)
    assert len(await stored_messages(storage, caller, conversation.id)) == 1
    assert (await stored_fold(storage, run_id)).end is not None


async def test_a_run_that_was_taken_while_its_model_was_silent_cannot_end_itself(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    gate = asyncio.Event()
    models = scripted(TextPiece("Hel"), Gate(gate), TextPiece("lo"), STOP)
    async with Process(storage, committer, models) as slow, Process(storage, committer, models, name="b") as reaping:
        run_id = await slow.send(caller, conversation.id)
        watching = slow.follow_along(caller, run_id)
        await slow.until_written(run_id)
        await expire(storage)
        assert await reaping.reaper.reap() == 1
        gate.set()
        client = await soon(watching)
        await until(lambda: not slow.supervisor.active_count)
    assert client.last is not None
    assert client.last.failed.reason == error_reason_pb2.ERROR_REASON_RUN_INTERRUPTED
    assert client.stored == {}
    assert len(await stored_messages(storage, caller, conversation.id)) == 1


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
