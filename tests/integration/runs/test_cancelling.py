"""Cancelling: the intent is durable, the provider is closed, what was said is kept, and nothing comes back (G4)."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

import pytest

from chatter_grpc.adapters.models.scripted import CallState, Gate, ScriptedChat, answer_script
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.conversations import Conversation, ConversationStatus
from chatter_grpc.core.errors import (
    ConversationArchived,
    ProviderStreamBroken,
    ProviderUnavailable,
    RunAlreadyFinished,
    RunNotFound,
)
from chatter_grpc.core.messages import sha256_of
from chatter_grpc.core.models import ChatModel, Finished, FinishReason, ModelDelta, ModelRequest, TextPiece
from chatter_grpc.core.runs.run import LogCommitter, RunState
from chatter_grpc.core.runs.supervisor import RunSettings
from chatter_grpc.core.storage import Storage
from tests.support.catalogues import Catalogue
from tests.support.desk import add_caller
from tests.support.records import start_run
from tests.support.replicas import Process, stored_fold, stored_messages
from tests.support.waiting import soon, until

STOP = Finished(FinishReason.STOP)


def talking() -> ScriptedChat:
    """A model that says something and then goes on for as long as it is let."""
    return ScriptedChat([TextPiece("Hel"), TextPiece("lo"), Gate(asyncio.Event()), STOP], answer_script("A"))


def thinking() -> ScriptedChat:
    """A model that has not said anything yet."""
    return ScriptedChat([Gate(asyncio.Event()), TextPiece("x"), STOP], answer_script("A"))


class Closing:
    """A chat whose connection takes its time to close, and fails then where it is told to."""

    provider = "scripted"

    def __init__(self, release: asyncio.Event, error: Exception | None = None) -> None:
        self._release = release
        self._error = error

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Sequence[ModelDelta], None]:
        try:
            yield (TextPiece("x"),)
            await asyncio.Event().wait()
        finally:
            await self._release.wait()
            if self._error is not None:
                raise self._error


async def spoken(chat: ScriptedChat) -> None:
    await until(lambda: bool(chat.calls) and len(chat.calls[0].delivered) == 2)


@pytest.mark.platform("T10")
async def test_a_cancelled_answer_is_closed_kept_and_accounted_for(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    chat = talking()
    async with Process(storage, committer, Catalogue({"model": chat})) as here:
        run_id = await here.send(caller, conversation.id)
        watching = here.follow_along(caller, run_id)
        await spoken(chat)
        run = await soon(here.runs.cancel(caller, run_id))
        assert (run.state, chat.calls[0].state) == (RunState.CANCELLED, CallState.CLOSED)
        assert run.cancel_requested_at is not None
        client = await soon(watching)
        assert client.end == "cancelled"
        assert (await here.answer(caller, conversation.id)).end == "completed", "the conversation is free again"
    _, partial, *_ = await stored_messages(storage, caller, conversation.id)
    assert (partial.text, partial.text_sha256) == ("Hello", sha256_of("Hello"))
    assert partial.finish_reason is FinishReason.CANCELLED
    assert client.stored == {partial.id: "Hello"}
    assert partial.usage == run.usage
    assert run.usage.estimated
    assert run.usage.output_tokens == 2
    assert client.usage.output_tokens == 2
    fold = await stored_fold(storage, run_id)
    assert {key: message.text for key, message in fold.messages.items()} == client.stored


async def test_a_run_cancelled_before_its_first_token_stores_no_answer(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    chat = thinking()
    async with Process(storage, committer, Catalogue({"model": chat})) as here:
        run_id = await here.send(caller, conversation.id)
        await chat.wait_for_calls(1)
        run = await soon(here.runs.cancel(caller, run_id))
        client = await here.follow(caller, run_id)
    assert (run.state, chat.calls[0].state) == (RunState.CANCELLED, CallState.CLOSED)
    assert (client.end, client.stored) == ("cancelled", {})
    # The provider was sent the prompt, and never said what that is to cost.
    assert (run.usage.input_tokens, run.usage.output_tokens, run.usage.estimated) == (2, 0, True)
    assert (client.usage.input_tokens, (await stored_fold(storage, run_id)).usage) == (2, run.usage)
    assert len(await stored_messages(storage, caller, conversation.id)) == 1


async def test_cancelling_again_gives_the_same_run(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    chat = talking()
    async with Process(storage, committer, Catalogue({"model": chat})) as here:
        run_id = await here.send(caller, conversation.id)
        await spoken(chat)
        runs = await soon(asyncio.gather(*(here.runs.cancel(caller, run_id) for _ in range(3))))
        assert {run.state for run in runs} == {RunState.CANCELLED}
        assert await here.runs.cancel(caller, run_id) == runs[0]


async def test_a_run_that_ended_otherwise_cannot_be_cancelled(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    chat = ScriptedChat(answer_script("A"), [ProviderUnavailable(provider="scripted")])
    async with Process(storage, committer, Catalogue({"model": chat})) as here:
        for state in ("completed", "failed"):
            run_id = await here.send(caller, conversation.id)
            await here.follow(caller, run_id)
            with pytest.raises(RunAlreadyFinished) as refused:
                await here.runs.cancel(caller, run_id)
            assert refused.value.metadata == {"run_id": run_id, "state": state}
            assert (await here.run_of(caller, run_id)).cancel_requested_at is None


@pytest.mark.platform("T1")
async def test_somebody_elses_run_cannot_be_cancelled_or_watched(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    chat, eve = talking(), await add_caller(storage, "eve")
    async with Process(storage, committer, Catalogue({"model": chat})) as here:
        run_id = await here.send(caller, conversation.id)
        with pytest.raises(RunNotFound):
            await here.runs.cancel(eve, run_id)
        with pytest.raises(RunNotFound):
            await here.runs.watch(eve, run_id)
        assert (await here.run_of(caller, run_id)).cancel_requested_at is None


async def test_a_cancellation_is_carried_out_also_when_the_one_who_asked_goes_away(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    chat = talking()
    async with Process(storage, committer, Catalogue({"model": chat})) as here:
        run_id = await here.send(caller, conversation.id)
        await spoken(chat)
        asking = asyncio.create_task(here.runs.cancel(caller, run_id))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait((asking,))
        assert asking.cancelled()
        assert (await here.ended(caller, run_id)).state is RunState.CANCELLED


async def test_an_intent_that_another_process_wrote_is_carried_out(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    chat = talking()
    models = Catalogue({"model": chat})
    async with Process(storage, committer, models) as here, Process(storage, committer, models, name="b") as there:
        run_id = await here.send(caller, conversation.id)
        await spoken(chat)
        run = await soon(there.runs.cancel(caller, run_id))
        assert (run.state, chat.calls[0].state) == (RunState.CANCELLED, CallState.CLOSED)


async def test_a_run_whose_process_does_not_hear_of_it_is_ended_by_the_one_who_cancels(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    chat = talking()
    models = Catalogue({"model": chat})
    deaf = RunSettings(cancel_poll=3600)
    async with (
        Process(storage, committer, models, runs=deaf) as here,
        Process(storage, committer, models, name="b", cancel_seconds=0) as there,
    ):
        run_id = await here.send(caller, conversation.id)
        watching = here.follow_along(caller, run_id)
        await spoken(chat)
        await here.until_committed(run_id)
        run = await soon(there.runs.cancel(caller, run_id))
        assert (run.state, run.attempt) == (RunState.CANCELLED, 2)
        client = await soon(watching)
        assert (client.end, client.stored) == ("cancelled", {})
        await until(lambda: chat.calls[0].state is CallState.CLOSED)
        assert (await here.answer(caller, conversation.id)).end == "completed", "the conversation is free again"
    assert (await stored_fold(storage, run_id)).usage == run.usage
    assert (run.usage.output_tokens, run.usage.estimated) == (2, True)


async def test_a_run_that_is_slow_to_clean_up_is_cancelled_all_the_same(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    release = asyncio.Event()
    chat: ChatModel = Closing(release)
    async with Process(storage, committer, Catalogue({"model": chat}), cancel_seconds=0.01) as here:
        run_id = await here.send(caller, conversation.id)
        await here.until_written(run_id)
        run = await soon(here.runs.cancel(caller, run_id))
        assert (run.state, run.attempt) == (RunState.CANCELLED, 2)
        assert (await here.runs.cancel(caller, run_id)) == run
        release.set()
        await until(lambda: not here.supervisor.active_count)
        assert await here.run_of(caller, run_id) == run
    assert len(await stored_messages(storage, caller, conversation.id)) == 1


async def test_those_who_cancel_at_once_a_run_that_nobody_ends_have_one_answer(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    models = Catalogue({"model": talking()})
    run = await start_run(storage, conversation, process_id="gone")
    async with (
        Process(storage, committer, models, cancel_seconds=0.02) as here,
        Process(storage, committer, models, name="b", cancel_seconds=0.02) as there,
    ):
        asked = (each.runs.cancel(caller, run.id) for each in (here, there, here, there))
        runs = await soon(asyncio.gather(*asked))
        assert {each.state for each in runs} == {RunState.CANCELLED}
        assert (await here.follow(caller, run.id)).kinds[-1] == "cancelled"


async def test_a_lost_run_that_is_to_be_cancelled_is_never_begun_again(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    chat = talking()
    run = await start_run(storage, conversation, process_id="gone", lease=0)
    async with storage.write() as tx:
        await tx.runs.request_cancel((run.id,), run.created_at)
    async with Process(storage, committer, Catalogue({"model": chat})) as here:
        await here.take_over()
        assert (await here.run_of(caller, run.id)).state is RunState.CANCELLED
        assert not await here.reaper.reap()
    assert not chat.calls


@pytest.mark.parametrize("error", [ProviderStreamBroken(provider="scripted"), ValueError("planted")])
async def test_a_run_that_fails_to_clean_up_is_cancelled_all_the_same(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation, error: Exception
) -> None:
    release = asyncio.Event()
    release.set()
    chat: ChatModel = Closing(release, error)
    async with Process(storage, committer, Catalogue({"model": chat})) as here:
        run_id = await here.send(caller, conversation.id)
        await here.until_written(run_id)
        run = await soon(here.runs.cancel(caller, run_id))
        client = await here.follow(caller, run_id)
    assert (run.state, client.end) == (RunState.CANCELLED, "cancelled")
    _, partial = await stored_messages(storage, caller, conversation.id)
    assert (partial.text, partial.finish_reason) == ("x", FinishReason.CANCELLED)
    assert client.stored == {partial.id: "x"}


async def test_a_run_cancelled_at_any_step_has_one_consistent_end(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    chat = ScriptedChat(answer_script("one two three four five six seven"))
    ends = []
    async with Process(storage, committer, Catalogue({"model": chat})) as here:
        for steps in range(30):
            run_id = await here.send(caller, conversation.id)
            for _ in range(steps):
                await asyncio.sleep(0)
            here.supervisor.cancel_here((run_id,))
            client, run = await here.follow(caller, run_id), await here.ended(caller, run_id)
            messages = await stored_messages(storage, caller, conversation.id)
            assert client.stored == {each.id: each.text for each in messages if each.run_id == run_id and each.model}
            assert client.end == run.state.value
            ends.append(client.end)
    assert ends[0] == "cancelled"
    assert set(ends) <= {"completed", "cancelled"}
    assert all(call.state in {CallState.FINISHED, CallState.CLOSED} for call in chat.calls)


async def test_a_cancellation_that_comes_with_the_end_is_answered_truly(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    gate = Gate(asyncio.Event())
    chat = ScriptedChat([TextPiece("Hel"), TextPiece("lo"), gate, STOP])
    async with Process(storage, committer, Catalogue({"model": chat})) as here:
        run_id = await here.send(caller, conversation.id)
        await spoken(chat)
        here.log.gate.clear()
        gate.event.set()
        await until(lambda: chat.calls[0].state is CallState.FINISHED)
        cancelling = asyncio.create_task(here.runs.cancel(caller, run_id))
        await asyncio.sleep(0.01)
        here.log.gate.set()
        with pytest.raises(RunAlreadyFinished) as refused:
            await soon(cancelling)
        assert refused.value.metadata["state"] == "completed"
        assert (await here.follow(caller, run_id)).end == "completed"


@pytest.mark.parametrize("leaves", [True, False], ids=["cancel", "continue"])
async def test_who_leaves_while_the_run_is_being_started_cancels_it_if_that_was_asked(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation, leaves: bool
) -> None:
    chat = talking() if leaves else ScriptedChat(answer_script("A"))
    async with Process(storage, committer, Catalogue({"model": chat})) as here:
        async with storage.write() as tx:
            await tx.conversations.lock(caller.owner_id, conversation.id)
            sending = asyncio.create_task(
                here.send(caller, conversation.id, request_id="r1", cancel_on_disconnect=leaves)
            )
            await asyncio.sleep(0.01)
            assert not here.supervisor.active_count
            sending.cancel()
            await asyncio.wait((sending,))
            assert sending.cancelled()
        run_id = await here.send(caller, conversation.id, request_id="r1")
        client = await here.follow(caller, run_id)
        assert client.end == ("cancelled" if leaves else "completed")


async def test_who_leaves_a_start_that_is_refused_leaves_nothing(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    async with Process(storage, committer, Catalogue({"model": talking()})) as here:
        async with storage.write() as tx:
            await tx.conversations.replace(replace(conversation, status=ConversationStatus.ARCHIVED))
            sending = asyncio.create_task(here.send(caller, conversation.id, cancel_on_disconnect=True))
            await asyncio.sleep(0.01)
            sending.cancel()
            await asyncio.wait((sending,))
        await until(lambda: not here.supervisor._owned)
        assert not here.supervisor.active_count
        with pytest.raises(ConversationArchived):
            await here.send(caller, conversation.id)


async def test_a_stream_that_is_left_cancels_its_run_without_anyone_waiting(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    chat = talking()
    async with Process(storage, committer, Catalogue({"model": chat})) as here:
        run_id = await here.send(caller, conversation.id)
        await spoken(chat)
        here.runs.abandon(caller, run_id)
        assert (await here.ended(caller, run_id)).state is RunState.CANCELLED
        here.runs.abandon(caller, run_id)
        await until(lambda: not here.supervisor._owned)


async def test_a_stream_that_is_left_after_the_end_changes_nothing(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    async with Process(storage, committer, Catalogue({"model": ScriptedChat(answer_script("A"))})) as here:
        run_id = await here.send(caller, conversation.id)
        await here.follow(caller, run_id)
        here.runs.abandon(caller, run_id)
        await until(lambda: not here.supervisor._owned)
        assert (await here.run_of(caller, run_id)).state is RunState.COMPLETED


async def test_a_stream_that_is_left_while_the_database_is_away_is_told_to_the_operator(
    storage: Storage,
    committer: LogCommitter,
    caller: Caller,
    conversation: Conversation,
    caplog: pytest.LogCaptureFixture,
) -> None:
    chat = talking()
    async with Process(storage, committer, Catalogue({"model": chat})) as here:
        run_id = await here.send(caller, conversation.id)
        await spoken(chat)
        here.faults.away = True
        here.runs.abandon(caller, run_id)
        await until(lambda: "run_abandon_failed" in caplog.messages)
        here.faults.away = False
