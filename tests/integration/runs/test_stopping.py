"""Stopping: runs get their grace, the rest is ended, readers are handed off, and nothing is left (G8)."""

import asyncio

import pytest

from chatter_grpc._gen.chatter.v1 import error_reason_pb2
from chatter_grpc.adapters.models.scripted import CallState, Gate, ScriptedChat, answer_script
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.conversations import Conversation, ModelSettings
from chatter_grpc.core.errors import ServerStopping
from chatter_grpc.core.models import Finished, FinishReason, TextPiece
from chatter_grpc.core.runs.executor import Work
from chatter_grpc.core.runs.reader import Control
from chatter_grpc.core.runs.run import LogCommitter, RunState
from chatter_grpc.core.runs.supervisor import RunSettings
from chatter_grpc.core.runs.writer import RunWriter
from chatter_grpc.core.storage import Storage
from tests.support.catalogues import Catalogue
from tests.support.records import store_conversation
from tests.support.replicas import Client, Process, stored_messages
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


async def test_a_run_that_does_not_end_is_interrupted_and_keeps_what_was_said(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    chat = talking(asyncio.Event())
    async with Process(storage, committer, Catalogue({"model": chat})) as here:
        run_id = await here.send(caller, conversation.id)
        watching = here.follow_along(caller, run_id)
        await here.until_written(run_id)
        await here.stop()
        client = await soon(watching)
        run = await here.run_of(caller, run_id)
    assert client.last is not None
    assert client.last.failed.reason == error_reason_pb2.ERROR_REASON_RUN_INTERRUPTED
    assert (run.state, run.failure_reason) == (RunState.FAILED, "RUN_INTERRUPTED")
    assert chat.calls[0].state is CallState.CLOSED
    _, partial = await stored_messages(storage, caller, conversation.id)
    assert client.stored == {partial.id: "Hel"}


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
async def test_a_run_that_has_only_just_been_started_is_ended_too(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation, steps: int
) -> None:
    chat = talking(asyncio.Event())
    async with Process(storage, committer, Catalogue({"model": chat})) as here:
        run_id = await here.send(caller, conversation.id)
        for _ in range(steps):
            await asyncio.sleep(0)
        await here.stop()
        run = await here.run_of(caller, run_id)
        assert (run.state, run.failure_reason) == (RunState.FAILED, "RUN_INTERRUPTED")
    assert all(call.state is CallState.CLOSED for call in chat.calls)


async def test_a_run_that_is_being_started_while_the_server_stops_is_ended_without_a_call(
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
        run = await here.run_of(caller, run_id)
        assert (run.state, run.failure_reason) == (RunState.FAILED, "RUN_INTERRUPTED")
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


class Stubborn:
    """An executor that cannot be cancelled until it is let go."""

    def __init__(self) -> None:
        self.cancels = 0
        self.done = False

    async def execute(self, work: Work, writer: RunWriter) -> None:
        while self.cancels < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancels += 1
        self.done = True


async def test_work_that_does_not_end_does_not_keep_the_server_from_stopping(
    storage: Storage,
    committer: LogCommitter,
    caller: Caller,
    conversation: Conversation,
    caplog: pytest.LogCaptureFixture,
) -> None:
    stubborn, short = Stubborn(), RunSettings(lease=0.05)
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
