"""Attempts after the first: what they carry over, when there is none more, and what is left of those before them."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from chatter_grpc.adapters.models.scripted import CallState, Gate, ScriptedChat, answer_script
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.conversations import Conversation
from chatter_grpc.core.errors import RunInterrupted
from chatter_grpc.core.models import Finished, FinishReason, TextPiece
from chatter_grpc.core.runs.ending import Outcome, end_run
from chatter_grpc.core.runs.events import Batch, DeltaKind, Deltas, Entry, RunCompleted, UsageReported
from chatter_grpc.core.runs.executor import Work
from chatter_grpc.core.runs.run import LogCommitter, LogPosition, Run, RunState
from chatter_grpc.core.runs.supervisor import RunSettings
from chatter_grpc.core.runs.writer import FinishedMessage, RunWriter
from chatter_grpc.core.storage import Storage
from chatter_grpc.core.usage import Usage
from tests.support.catalogues import MODEL, Catalogue
from tests.support.executors import LastMoment
from tests.support.lost_runs import expire, lost_run, scripted
from tests.support.records import PROCESS, a_message, an_answer, finish_run, start_run
from tests.support.replicas import Client, Process, stored_messages
from tests.support.taking import take_lost
from tests.support.waiting import soon, until

STOP = Finished(FinishReason.STOP)


async def test_what_a_lost_attempt_did_not_report_is_reported_once_however_many_attempts_there_are(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    async with Process(storage, committer, scripted(TextPiece("12345678"), Gate(asyncio.Event()), STOP)) as first:
        run_id = await first.send(caller, conversation.id)
        await first.until_written(run_id)
        await first.until_committed(run_id)
        first.lose_database()
    await expire(storage)
    # One that is gone before it has written anything, and one that reports it and is gone then.
    await take_lost(storage, 1, lease=0)
    async with Process(storage, committer, scripted(Gate(asyncio.Event()), STOP), name="b") as second:
        await second.take_over()
        await second.until_committed(run_id)
        second.lose_database()
    await expire(storage)
    async with Process(storage, committer, scripted(), name="c") as third:
        # Its losses alone would end it.
        async with storage.write() as tx:
            await tx.runs.append(
                run_id, LogPosition(3, (await third.run_of(caller, run_id)).last_seq), None, progress=True
            )
        await third.take_over()
        run = await third.ended(caller, run_id)
    async with storage.read() as tx:
        entries = await tx.runs.read_log(run_id, LogPosition(), 1 << 20)
    reported = [entry.body for entry in entries if isinstance(entry.body, UsageReported)]
    assert [(body.usage.output_tokens, body.usage.estimated) for body in reported[:1]] == [(2, True)]
    assert len({body.message_id for body in reported}) == len(reported)
    assert run.usage == sum((body.usage for body in reported[1:]), reported[0].usage)
    assert (run.state, run.attempt) == (RunState.COMPLETED, 4)


async def test_a_run_that_is_lost_three_times_in_a_row_without_a_finished_step_fails(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    run_id = await lost_run(storage, committer, caller, conversation.id)
    for _ in range(2):
        await take_lost(storage, 1, lease=0)
    chat = ScriptedChat(answer_script("A"))
    async with Process(storage, committer, Catalogue({"model": chat})) as here:
        await here.take_over()
        run = await here.ended(caller, run_id)
        assert (run.state, run.failure_reason, run.attempt) == (RunState.FAILED, "RUN_INTERRUPTED", 4)
        fold = await here.follow(caller, run_id)
        assert (fold.end, fold.stored) == ("failed", {})
        assert (await here.answer(caller, conversation.id)).end == "completed"
    assert len(chat.calls) == 1, "none for the run that failed"


async def test_a_run_that_had_done_its_work_is_completed_however_often_it_was_lost(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    executor = LastMoment()
    async with Process(storage, committer, scripted(), executor=executor) as gone:
        run_id = await gone.send(caller, conversation.id)
        await until(lambda: executor.done)
        await gone.until_committed(run_id)
        gone.lose_database()
    await expire(storage)
    chat = ScriptedChat(answer_script("A"))
    for _ in range(2):
        await take_lost(storage, 1, lease=0)
    async with Process(storage, committer, Catalogue({"model": chat}), name="b") as here:
        await here.take_over()
        assert (await here.ended(caller, run_id)).state is RunState.COMPLETED
    _, answer = await stored_messages(storage, caller, conversation.id)
    assert answer.text == "done"
    assert not chat.calls


async def test_a_run_whose_time_is_over_is_not_begun_again(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    run_id = await lost_run(storage, committer, caller, conversation.id)
    chat = ScriptedChat(answer_script("A"))
    async with Process(storage, committer, Catalogue({"model": chat}), runs=RunSettings(time_limit=0.001)) as here:
        await here.take_over()
        run = await here.ended(caller, run_id)
    assert (run.state, run.failure_reason) == (RunState.FAILED, "RUN_TIMEOUT")
    assert not chat.calls


def talking(gate: asyncio.Event) -> ScriptedChat:
    return ScriptedChat([TextPiece("Hel"), Gate(gate), TextPiece("lo"), STOP])


async def test_nothing_of_an_attempt_is_shown_once_its_lease_has_lapsed(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    gate = asyncio.Event()
    chat = talking(gate)
    async with Process(storage, committer, Catalogue({"model": chat})) as zombie:
        run_id = await zombie.send(caller, conversation.id)
        await zombie.until_written(run_id)
        await zombie.until_committed(run_id)
        client = Client(zombie.runs.reader(run_id), caller)
        async with client.reader:
            while not client.fold.messages:
                await client.read()
            # A process that was stopped finds its lease lapsed when it goes on, whatever it does first.
            attempt = zombie.supervisor._active[run_id]
            attempt.tail.append_delta("1.1", DeltaKind.TEXT, next(iter(client.fold.messages)), " never shown")
            attempt.tail.held_until = time.monotonic()
            reading = asyncio.create_task(client.read())
            await until(lambda: chat.calls[0].state is CallState.CLOSED)
            await until(lambda: not zombie.supervisor.active_count)
            await expire(storage)
            async with Process(storage, committer, scripted(), name="b") as there:
                await there.take_over()
                await soon(reading)
                while await client.read() is not None:
                    pass
        assert (client.fold.end, client.fold.attempt, list(client.fold.stored.values())) == ("completed", 2, ["A"])
    assert [message.text for message in await stored_messages(storage, caller, conversation.id)] == ["Hello?", "A"]


async def test_an_attempt_whose_lease_has_lapsed_leaves_its_model_though_nobody_reads(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    chat = talking(asyncio.Event())
    never_renewed = RunSettings(lease=1.0, renew=3600, cancel_poll=3600)
    async with Process(storage, committer, Catalogue({"model": chat}), runs=never_renewed) as here:
        run_id = await here.send(caller, conversation.id)
        await until(lambda: not here.supervisor.active_count)
        # On a machine that is busy enough the lease lapses before there is a call.
        assert all(call.state is CallState.CLOSED for call in chat.calls)
        assert (await here.run_of(caller, run_id)).state is RunState.RUNNING
    assert [taken.losses for taken in await take_lost(storage, 1)] == [1]


class AsksAgain:
    """An executor that goes on to the next model after a wait in which the lease lapses."""

    def __init__(self) -> None:
        self.refused: list[type[Exception]] = []

    async def execute(self, work: Work, writer: RunWriter) -> None:
        step = writer.open_step("model", "model")
        writer._tail.held_until = time.monotonic()
        for begin in (lambda: step.start_message(MODEL, "scripted"), lambda: writer.open_step("next", "model")):
            try:
                begin()
            except RunInterrupted as refusal:
                self.refused.append(type(refusal))


async def test_an_attempt_whose_lease_has_lapsed_begins_no_model_call(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    executor = AsksAgain()
    async with Process(storage, committer, scripted(), executor=executor) as here:
        run_id = await here.send(caller, conversation.id)
        await until(lambda: not here.supervisor.active_count)
        assert executor.refused == [RunInterrupted, RunInterrupted]
        assert (await here.run_of(caller, run_id)).state is RunState.RUNNING
    await expire(storage)
    await take_lost(storage, 1)


async def test_an_attempt_that_is_renewed_in_time_goes_on_past_its_first_lease(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    gate = asyncio.Event()
    # Leases are renewed when they are due, however seldom anyone looks for cancellations.
    short = RunSettings(lease=1.5, renew=0.1, cancel_poll=3600)
    async with Process(storage, committer, Catalogue({"model": talking(gate)}), runs=short) as here:
        run_id = await here.send(caller, conversation.id)
        await here.until_written(run_id)
        first = here.supervisor._active[run_id].tail.held_until
        await until(lambda: time.monotonic() > first + 0.1)
        gate.set()
        assert (await here.ended(caller, run_id)).attempt == 1
        assert (await here.follow(caller, run_id)).end == "completed"


async def test_a_renewal_tells_an_attempt_that_it_lost_its_run(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    chat = talking(asyncio.Event())
    often = RunSettings(renew=0.01, cancel_poll=3600)
    async with Process(storage, committer, Catalogue({"model": chat}), runs=often) as here:
        run_id = await here.send(caller, conversation.id)
        await here.until_written(run_id)
        (taken,) = await taken_by_force(storage)
        assert taken == run_id
        await until(lambda: chat.calls[0].state is CallState.CLOSED)
        await until(lambda: not here.supervisor.active_count)


async def taken_by_force(storage: Storage) -> list[str]:
    """Take the only run, whose process may renew its lease at any moment."""
    async with storage.write() as tx:
        await tx.runs.expire_leases()
        taken = await tx.runs.take_lost("other", 600.0, 1)
    return [each.run.id for each in taken]


Write = Callable[[Storage, LogCommitter, Run], Awaitable[bool]]


async def commit(storage: Storage, committer: LogCommitter, run: Run) -> bool:
    return not await committer.commit([_batch(run)])


async def append(storage: Storage, committer: LogCommitter, run: Run) -> bool:
    async with storage.write() as tx:
        return await tx.runs.append(run.id, LogPosition(run.attempt, run.last_seq), _batch(run), progress=True)


async def release(storage: Storage, committer: LogCommitter, run: Run) -> bool:
    async with storage.write() as tx:
        return await tx.runs.release(run.id, run.attempt, _batch(run), run.last_seq)


async def renew(storage: Storage, committer: LogCommitter, run: Run) -> bool:
    async with storage.write() as tx:
        return bool(await tx.runs.renew_leases(PROCESS, {run.id: run.attempt}, 600.0))


async def reserve(storage: Storage, committer: LogCommitter, run: Run) -> bool:
    async with storage.write() as tx:
        return await tx.ledger.hold(run.owner_id, run.id, run.attempt) is not None


async def end(storage: Storage, committer: LogCommitter, run: Run) -> bool:
    message = FinishedMessage(
        id="msg_stale",
        text="stale",
        text_sha256="",
        model=MODEL,
        provider="scripted",
        finish_reason=FinishReason.STOP,
        usage=Usage(),
        latency_ms=1,
    )
    last = Batch(run.id, run.attempt, (Entry(run.last_seq + 1, run.attempt, "", 0, RunCompleted((), Usage())),))
    outcome = Outcome(state=RunState.COMPLETED)
    return await end_run(storage, run, outcome, last, [message], Usage(input_tokens=9), run.created_at)


def _batch(run: Run) -> Batch:
    entry = Entry(run.last_seq + 1, run.attempt, "1.1", 0, Deltas(DeltaKind.TEXT, "msg_1", ("stale",)))
    return Batch(run.id, run.attempt, (entry,))


async def asked_and_answered(storage: Storage, conversation: Conversation) -> tuple[str, str]:
    """Store a question with an answer, which a regeneration would replace."""
    run = await start_run(storage, conversation)
    question, old = a_message(conversation, run.id), an_answer(conversation, run.id, text="old")
    async with storage.write() as tx:
        await tx.messages.append(conversation.id, (question, old), Usage())
    assert await finish_run(storage, run)
    return question.id, old.id


@pytest.mark.parametrize("stale", [True, False], ids=["an attempt before", "the current attempt"])
@pytest.mark.parametrize("write", [commit, append, release, renew, reserve, end])
async def test_every_write_of_an_attempt_is_fenced(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation, write: Write, stale: bool
) -> None:
    question, old = await asked_and_answered(storage, conversation)
    run = await start_run(
        storage, conversation, process_id=PROCESS, lease=-1, user_message_id=question, regeneration=True
    )
    (taken,) = await take_lost(storage, 1, process_id=PROCESS)
    writer = run if stale else taken.run
    # As one that never noticed: with the numbers that go on where the log ends, too.
    for each in (writer, replace(writer, last_seq=taken.run.last_seq)):
        assert await write(storage, committer, each) is (not stale)
        if not stale:
            return
        async with storage.read() as tx:
            assert await tx.runs.get(caller.owner_id, run.id) == taken.run
            entries = await tx.runs.read_log(run.id, LogPosition(), 1 << 20)
            assert entries[-1] == taken.first.entries[0]
        assert [message.id for message in await stored_messages(storage, caller, conversation.id)] == [question, old]
