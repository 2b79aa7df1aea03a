"""Stopping: runs get their grace, the rest is given back, readers are handed off, and nothing is left (G8)."""

import asyncio

import pytest

from chatter_grpc.adapters.memory.wakeups import MemoryWakeUps
from chatter_grpc.adapters.models.scripted import CallState, Gate, ScriptedChat, answer_script
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.conversations import Conversation, ModelSettings
from chatter_grpc.core.errors import ServerStopping
from chatter_grpc.core.models import Finished, FinishReason, TextPiece
from chatter_grpc.core.runs.reader import Control
from chatter_grpc.core.runs.run import LogCommitter, RunState
from chatter_grpc.core.runs.supervisor import RunSettings
from chatter_grpc.core.storage import Storage
from chatter_grpc.core.usage import Usage
from tests.support.catalogues import Catalogue
from tests.support.executors import LastMoment, Stubborn
from tests.support.records import store_conversation
from tests.support.replicas import FIRST_PIECE, Client, Process, stored_messages
from tests.support.taking import take_lost
from tests.support.waiting import MINUTE, soon, until

STOP = Finished(FinishReason.STOP)


def talking(gate: asyncio.Event) -> ScriptedChat:
    return ScriptedChat([TextPiece("Hel"), Gate(gate), TextPiece("lo"), STOP])


async def test_a_run_that_ends_within_the_grace_completes(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    gate = asyncio.Event()
    async with Process(storage, committer, Catalogue({"model": talking(gate)}), grace=MINUTE) as here:
        run_id = await here.send(caller, conversation.id)
        watching = here.follow_along(caller, run_id)
        await here.until_written(run_id)
        stopping = asyncio.create_task(here.stop())
        await until(lambda: here.supervisor._stopping)
        with pytest.raises(ServerStopping):
            await here.send(caller, conversation.id)
        gate.set()
        await soon(stopping)
        client = await soon(watching)
        assert (client.end, list(client.stored.values())) == ("completed", ["Hello"])


async def test_a_run_that_does_not_end_is_given_back_and_gone_on_with_elsewhere(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    chat, other = talking(asyncio.Event()), ScriptedChat(answer_script("Hello again"))
    async with Process(storage, committer, Catalogue({"model": other}), name="b") as there:
        async with Process(storage, committer, Catalogue({"model": chat})) as here:
            run_id = await here.send(caller, conversation.id)
            client = Client(await here.runs.watch(caller, run_id), caller)
            watching = asyncio.create_task(client.read_to_end())
            await until(lambda: client.fold.seq >= FIRST_PIECE)
            await here.stop()
            await soon(watching)
            run = await here.run_of(caller, run_id)
            assert (run.state, run.attempt) == (RunState.RUNNING, 1)
            assert chat.calls[0].state is CallState.CLOSED
            assert (client.fold.end, client.controls[-1]) == ("", Control.HAND_OFF)
            assert client.fold.kinds[-2:] == ["usage", "message_discarded"]
            assert not await here.reaper.reap(), "who stops takes nothing, what it gave back the least"
        await there.take_over()
        client.reader = await there.runs.watch(caller, run_id, client.cursor)
        fold = await client.read_to_end()
        run = await there.run_of(caller, run_id)
    _, answer = await stored_messages(storage, caller, conversation.id)
    assert (fold.end, fold.attempt, fold.stored) == ("completed", 2, {answer.id: "Hello again"})
    # What was broken off has cost something, too.
    assert answer.usage is not None
    assert run.usage == answer.usage + Usage(input_tokens=2, output_tokens=1, cost_micros=4, estimated=True)


async def test_what_a_process_gives_back_is_taken_by_another_as_soon_as_it_hears_of_it(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    wakeups = MemoryWakeUps(tick=3600)
    models = Catalogue({"model": talking(asyncio.Event())})
    other = Catalogue({"model": ScriptedChat(answer_script("A"))})
    async with Process(storage, committer, other, name="b", wakeups=wakeups) as there:
        reaping = asyncio.create_task(there.reaper.run())
        async with Process(storage, committer, models, wakeups=wakeups) as here:
            run_id = await here.send(caller, conversation.id)
            await here.until_written(run_id)
            await here.stop()
            assert (await there.ended(caller, run_id)).attempt == 2
        reaping.cancel()
        await asyncio.wait((reaping,))


async def test_giving_back_counts_as_no_loss_however_often(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    async with Process(storage, committer, Catalogue({"model": talking(asyncio.Event())})) as first:
        run_id = await first.send(caller, conversation.id)
        await first.until_written(run_id)
    for attempt in range(2, 6):
        async with Process(storage, committer, Catalogue({"model": talking(asyncio.Event())}), name="next") as here:
            await here.take_over()
            await until(lambda: here.supervisor.active_count == 1)
            assert (await here.run_of(caller, run_id)).attempt == attempt
    async with Process(storage, committer, Catalogue({"model": ScriptedChat(answer_script("A"))})) as last:
        await last.take_over()
        assert (await last.ended(caller, run_id)).state is RunState.COMPLETED


async def test_a_run_that_had_done_its_work_when_it_was_given_back_is_not_done_again(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    chat = ScriptedChat(answer_script("A"))
    executor = LastMoment()
    async with Process(storage, committer, Catalogue({"model": chat}), executor=executor) as here:
        run_id = await here.send(caller, conversation.id)
        await until(lambda: executor.done)
        await here.stop()
    async with Process(storage, committer, Catalogue({"model": chat}), name="b") as there:
        await there.take_over()
        client = await there.follow(caller, run_id)
    assert (client.end, client.attempt, list(client.stored.values())) == ("completed", 2, ["done"])
    assert not chat.calls
    assert len(await stored_messages(storage, caller, conversation.id)) == 2


async def test_readers_of_runs_elsewhere_are_handed_off_and_go_on_at_another_server(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    gate = asyncio.Event()
    models = Catalogue({"model": talking(gate)})
    async with Process(storage, committer, models) as owner:
        run_id = await owner.send(caller, conversation.id)
        await owner.until_written(run_id)
        async with Process(storage, committer, models, name="b") as stopping:
            client = Client(await stopping.runs.watch(caller, run_id), caller)
            watching = asyncio.create_task(client.read_to_end())
            await until(lambda: client.fold.seq >= 5)
            await stopping.stop()
            await soon(watching)
            assert client.controls[-1] is Control.HAND_OFF
            assert client.fold.end == ""
        gate.set()
        client.reader = await owner.runs.watch(caller, run_id, client.cursor)
        fold = await client.read_to_end()
        assert (fold.end, list(fold.stored.values())) == ("completed", ["Hello"])


async def test_readers_of_runs_elsewhere_do_not_wait_for_the_runs_that_are_at_work_here(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    there, here = asyncio.Event(), asyncio.Event()
    async with Process(storage, committer, Catalogue({"model": talking(there)})) as owner:
        run_id = await owner.send(caller, conversation.id)
        await owner.until_written(run_id)
        async with Process(storage, committer, Catalogue({"model": talking(here)}), name="b", grace=MINUTE) as stopping:
            own = await store_conversation(storage, caller.owner_id, settings=ModelSettings())
            own_run_id = await stopping.send(caller, own.id)
            client = Client(await stopping.runs.watch(caller, run_id), caller)
            watching = asyncio.create_task(client.read_to_end())
            staying = stopping.follow_along(caller, own_run_id)
            await stopping.until_written(own_run_id)
            stop = asyncio.create_task(stopping.stop())
            await soon(watching)
            assert (client.controls[-1], client.fold.end) == (Control.HAND_OFF, "")
            assert not any(task.done() for task in (stop, staying))
            here.set()
            await soon(staying)
            await soon(stop)
        there.set()
        await owner.ended(caller, run_id)


@pytest.mark.parametrize("steps", range(4))
async def test_a_run_that_has_only_just_been_started_is_given_back_too(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation, steps: int
) -> None:
    chat = talking(asyncio.Event())
    async with Process(storage, committer, Catalogue({"model": chat})) as here:
        run_id = await here.send(caller, conversation.id)
        for _ in range(steps):
            await asyncio.sleep(0)
        await here.stop()
        run = await here.run_of(caller, run_id)
        assert (run.state, run.attempt) == (RunState.RUNNING, 1)
    await can_be_taken(storage, run_id)
    assert all(call.state is CallState.CLOSED for call in chat.calls)


async def can_be_taken(storage: Storage, run_id: str) -> None:
    (taken,) = await take_lost(storage, 1)
    assert (taken.run.id, taken.losses) == (run_id, 0)


async def test_a_run_that_is_being_started_while_the_server_stops_is_given_back_without_a_call(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    chat = talking(asyncio.Event())
    async with Process(storage, committer, Catalogue({"model": chat})) as here:
        async with storage.write() as tx:
            await tx.conversations.lock(caller.owner_id, conversation.id)
            sending = asyncio.create_task(here.send(caller, conversation.id))
            await asyncio.sleep(0.01)
            stopping = asyncio.create_task(here.stop())
            await until(lambda: here.supervisor._grace_over)
        run_id = await soon(sending)
        await soon(stopping)
    await can_be_taken(storage, run_id)
    assert not chat.calls


async def test_a_run_started_during_the_grace_has_its_share_of_it(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    chat = ScriptedChat(answer_script("A"))
    async with Process(storage, committer, Catalogue({"model": chat}), grace=MINUTE) as here:
        async with storage.write() as tx:
            await tx.conversations.lock(caller.owner_id, conversation.id)
            sending = asyncio.create_task(here.send(caller, conversation.id))
            await asyncio.sleep(0.01)
            stopping = asyncio.create_task(here.stop())
            await until(lambda: here.supervisor._stopping)
        run_id = await soon(sending)
        await soon(stopping)
        assert (await here.run_of(caller, run_id)).state is RunState.COMPLETED


async def test_a_cancellation_that_is_under_way_is_finished_by_the_stop(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    async with Process(storage, committer, Catalogue({"model": talking(asyncio.Event())}), grace=MINUTE) as here:
        run_id = await here.send(caller, conversation.id)
        await here.until_written(run_id)
        here.runs.abandon(caller, run_id)
        await here.stop()
        assert (await here.run_of(caller, run_id)).state is RunState.CANCELLED


async def test_work_that_does_not_end_does_not_keep_the_server_from_stopping(
    storage: Storage,
    committer: LogCommitter,
    caller: Caller,
    conversation: Conversation,
    caplog: pytest.LogCaptureFixture,
) -> None:
    stubborn, short = Stubborn(), RunSettings(hand_over=0.05)
    models = Catalogue({"model": ScriptedChat(answer_script("A"))})
    async with Process(storage, committer, models, executor=stubborn, runs=short) as here:
        run_id = await here.send(caller, conversation.id)
        await here.until_written(run_id, 2)
        await asyncio.sleep(0)
        await here.stop()
        assert stubborn.done
        assert "stopped_with_work_left" in caplog.messages
        assert here.supervisor.tail(run_id) is None


async def test_a_server_without_work_stops_at_once(storage: Storage, committer: LogCommitter) -> None:
    models = Catalogue({"model": ScriptedChat(answer_script("A"))})
    async with Process(storage, committer, models, grace=MINUTE) as here:
        await here.stop()
        await here.stop()
