"""Detached runs: they wait for a process, are begun once, and can be watched and cancelled meanwhile."""

import asyncio
from collections.abc import Awaitable

import pytest

from chatter_grpc.adapters.models.scripted import Gate, ScriptedChat, answer_script
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.conversation_service import Conversations
from chatter_grpc.core.conversations import Conversation, ModelSettings
from chatter_grpc.core.errors import ConversationBusy, StorageUnavailable, TooManyPendingRuns, TooManyRuns
from chatter_grpc.core.models import Finished, FinishReason, TextPiece
from chatter_grpc.core.pages import PageRequest
from chatter_grpc.core.runs.reader import Control
from chatter_grpc.core.runs.run import LogCommitter, RunFilter, RunState
from chatter_grpc.core.starting import RunLimits
from chatter_grpc.core.storage import Storage
from tests.support.catalogues import Catalogue
from tests.support.desk import add_caller
from tests.support.records import NOW, store_conversation
from tests.support.replicas import Client, Process, stored_messages
from tests.support.waiting import eventually, soon, until

STOP = Finished(FinishReason.STOP)
LIMITS = RunLimits(at_work=2, pending=3)


def process(
    storage: Storage, committer: LogCommitter, chat: ScriptedChat | None = None, *, room: int = 100, name: str = "one"
) -> Process:
    models = Catalogue({"model": chat or ScriptedChat(answer_script("Done."))})
    return Process(storage, committer, models, room=room, name=name)


async def places(storage: Storage, caller: Caller, count: int) -> list[str]:
    """Make conversations."""
    settings = ModelSettings()
    return [(await store_conversation(storage, caller.owner_id, settings=settings)).id for _ in range(count)]


async def queued(here: Process, caller: Caller, conversation_ids: list[str]) -> list[str]:
    return [await here.send(caller, each, detached=True) for each in conversation_ids]


async def states(here: Process, caller: Caller, run_ids: list[str]) -> list[RunState]:
    return [(await here.run_of(caller, run_id)).state for run_id in run_ids]


async def test_a_detached_run_is_begun_by_itself_and_answers_as_any_other(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    async with process(storage, committer) as here:
        run_id = await here.send(caller, conversation.id, "Do it.", detached=True)
        fold = await here.follow(caller, run_id)
        run = await here.ended(caller, run_id)
    assert fold.kinds[:2] == ["run_started", "attempt_started"]
    assert (fold.end, run.state, run.attempt) == ("completed", RunState.COMPLETED, 1)
    question, answer = await stored_messages(storage, caller, conversation.id)
    assert (question.text, answer.text, answer.run_id) == ("Do it.", "Done.", run_id)
    assert fold.stored == {answer.id: "Done."}


async def test_a_pending_run_is_watched_listed_and_in_the_way_like_one_at_work(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    async with process(storage, committer, room=0) as waiting:
        run_id = await waiting.send(caller, conversation.id, detached=True)
        page = await waiting.runs.list(caller, RunFilter(state=RunState.PENDING), PageRequest())
        assert [(run.id, run.attempt, run.last_seq) for run in page.items] == [(run_id, 1, 1)]
        with pytest.raises(ConversationBusy):
            await waiting.send(caller, conversation.id)
        client = Client(await waiting.runs.watch(caller, run_id), caller)
        async with client.reader:
            for _ in range(2):
                await client.read()
            assert (client.fold.kinds, client.controls) == (["run_started"], [Control.CAUGHT_UP])
            async with process(storage, committer, name="two") as working:
                await working.ended(caller, run_id)
                while await client.read() is not None:
                    pass
    assert (client.fold.end, list(client.fold.stored.values())) == ("completed", ["Done."])


async def test_a_pending_run_survives_the_process_that_took_it_in(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    async with process(storage, committer, room=0) as first:
        run_id = await first.send(caller, conversation.id, detached=True)
        async with storage.write() as tx:
            await tx.runs.expire_leases()
        assert await first.reaper.reap() == 0
    async with process(storage, committer, name="two") as second:
        assert (await second.ended(caller, run_id)).state is RunState.COMPLETED


async def test_a_pending_run_is_cancelled_at_once_by_whoever_asks(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    chat = ScriptedChat(answer_script("x"))
    async with process(storage, committer, chat, room=0) as here:
        run_id = await here.send(caller, conversation.id, detached=True)
        following = here.follow_along(caller, run_id)
        run = await here.runs.cancel(caller, run_id)
        fold = await soon(following)
        assert (await here.runs.cancel(caller, run_id)) == run
        assert await here.runs.list(caller, RunFilter(state=RunState.PENDING), PageRequest())
    assert (run.state, run.last_seq, fold.kinds) == (RunState.CANCELLED, 2, ["run_started", "cancelled"])
    async with process(storage, committer, chat, name="two") as there:
        await there.answer(caller, conversation.id)
    assert len(chat.calls) == 1
    assert len(await stored_messages(storage, caller, conversation.id)) == 3


async def test_deleting_a_conversation_and_disabling_its_owner_end_what_waits(
    storage: Storage, committer: LogCommitter, caller: Caller
) -> None:
    chat = ScriptedChat(answer_script("x"))
    async with process(storage, committer, chat, room=0) as here:
        run_ids = await queued(here, caller, ids := await places(storage, caller, 3))
        models = Catalogue({"model": chat})
        conversations = Conversations(
            storage=storage, models=models, cancel_runs=here.supervisor.cancel_here, clock=lambda: NOW
        )
        following = here.follow_along(caller, run_ids[0])
        await conversations.delete(caller, ids[0])
        assert (await soon(following)).end == "cancelled"
        assert await states(here, caller, run_ids) == [RunState.CANCELLED, RunState.PENDING, RunState.PENDING]
        async with storage.write() as tx:
            await tx.runs.cancel_all([caller.owner_id], NOW)
        assert await states(here, caller, run_ids) == [RunState.CANCELLED] * 3
    assert chat.calls == []


async def test_a_process_works_on_as_many_detached_runs_as_it_has_room_for(
    storage: Storage, committer: LogCommitter, caller: Caller
) -> None:
    gate = Gate(asyncio.Event())
    chat = ScriptedChat([gate, TextPiece("x"), STOP])
    async with process(storage, committer, chat, room=2) as here:
        run_ids = await queued(here, caller, await places(storage, caller, 5))
        await chat.wait_for_calls(2)
        async with process(storage, committer, chat, room=1, name="two"):
            await chat.wait_for_calls(3)
            working, waiting = RunState.RUNNING, RunState.PENDING
            assert sorted(await states(here, caller, run_ids)) == sorted([working] * 3 + [waiting] * 2)
            gate.event.set()
            assert [(await here.ended(caller, run_id)).state for run_id in run_ids] == [RunState.COMPLETED] * 5
    # No run was begun twice.
    assert len(chat.calls) == 5


async def test_an_owner_with_all_its_runs_at_work_is_refused_another_and_a_detached_one_waits(
    storage: Storage, committer: LogCommitter, caller: Caller
) -> None:
    gate = Gate(asyncio.Event())
    chat = ScriptedChat([gate, TextPiece("x"), STOP])
    other = await add_caller(storage, "bob")
    async with Process(storage, committer, Catalogue({"model": chat}), limits=LIMITS) as here:
        ids = await places(storage, caller, 3)
        at_work = [await here.send(caller, each) for each in ids[:2]]
        with pytest.raises(TooManyRuns) as refused:
            await here.send(caller, ids[2], request_id="again")
        assert refused.value.metadata == {"limit": "2"}
        assert await stored_messages(storage, caller, ids[2]) == []
        detached = await here.send(caller, ids[2], detached=True)
        # Others are not concerned.
        theirs = await here.send(other, (await places(storage, other, 1))[0], detached=True)
        await chat.wait_for_calls(3)
        assert await states(here, caller, [*at_work, detached]) == [RunState.RUNNING] * 2 + [RunState.PENDING]
        gate.event.set()
        assert [(await here.ended(caller, each)).state for each in (*at_work, detached)] == [RunState.COMPLETED] * 3
        assert (await here.ended(other, theirs)).state is RunState.COMPLETED
        # What was refused has not used up its request id.
        assert await here.ended(caller, await here.send(caller, ids[2], request_id="again"))


async def test_starts_at_once_do_not_get_past_the_limit_together(
    storage: Storage, committer: LogCommitter, caller: Caller
) -> None:
    async def outcome(start: Awaitable[str]) -> str:
        try:
            await start
        except TooManyRuns:
            return "refused"
        return "started"

    chat = ScriptedChat([Gate(asyncio.Event()), STOP])
    async with Process(storage, committer, Catalogue({"model": chat}), limits=LIMITS) as here:
        starts = [here.send(caller, each) for each in await places(storage, caller, 6)]
        assert sorted(await asyncio.gather(*map(outcome, starts))) == ["refused"] * 4 + ["started"] * 2


async def test_so_many_runs_of_an_owner_wait_and_no_more(
    storage: Storage, committer: LogCommitter, caller: Caller
) -> None:
    async with Process(
        storage, committer, Catalogue({"model": ScriptedChat(answer_script("x"))}), limits=LIMITS, room=0
    ) as here:
        *ids, last = await places(storage, caller, 4)
        run_ids = await queued(here, caller, ids)
        with pytest.raises(TooManyPendingRuns) as refused:
            await here.send(caller, last, detached=True)
        assert refused.value.metadata == {"limit": "3"}
        await here.runs.cancel(caller, run_ids[0])
        assert await here.send(caller, last, detached=True)


async def test_a_repeat_gives_the_same_run_whatever_has_become_of_it(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    chat = ScriptedChat(answer_script("x"))
    async with process(storage, committer, chat) as here:
        starts = [here.send(caller, conversation.id, detached=True, request_id="r") for _ in range(3)]
        first, *same = await asyncio.gather(*starts)
        await here.ended(caller, first)
        assert [*same, await here.send(caller, conversation.id, detached=True, request_id="r")] == [first] * 3
    assert len(chat.calls) == 1


async def test_a_run_whose_message_is_gone_ends_as_failed_and_keeps_none_from_its_turn(
    storage: Storage, committer: LogCommitter, caller: Caller
) -> None:
    async with process(storage, committer, room=0) as waiting:
        broken, fine = await queued(waiting, caller, await places(storage, caller, 2))
        async with storage.write() as tx:
            run = await tx.runs.get(caller.owner_id, broken)
            message = await tx.messages.get(caller.owner_id, run.user_message_id)
            await tx.messages.remove(caller.owner_id, message, NOW)
    async with process(storage, committer, name="two", room=1) as here:
        assert (await here.ended(caller, fine)).state is RunState.COMPLETED
        run = await here.ended(caller, broken)
        assert (run.state, run.failure_reason) == (RunState.FAILED, "MESSAGE_NOT_FOUND")
        assert (await here.follow(caller, broken)).kinds == ["run_started", "attempt_started", "failed"]


async def test_a_claim_whose_answer_was_lost_is_gone_on_with_by_the_reaper(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    async with process(storage, committer, room=0) as waiting:
        run_id = await waiting.send(caller, conversation.id, detached=True)
        async with process(storage, committer, name="two", room=0) as here:
            here.claimer._room = 1
            here.faults.lost_answers = 1
            await eventually(lambda: is_at_work(here, caller, run_id))
            assert here.supervisor.active_count == 0
            async with storage.write() as tx:
                await tx.runs.expire_leases()
            await here.take_over()
            run = await here.ended(caller, run_id)
            assert (run.state, run.attempt) == (RunState.COMPLETED, 2)


async def is_at_work(here: Process, caller: Caller, run_id: str) -> bool:
    return (await here.run_of(caller, run_id)).state is RunState.RUNNING


async def test_the_claimer_goes_on_when_the_database_is_back(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    async with process(storage, committer, room=0) as waiting:
        run_id = await waiting.send(caller, conversation.id, detached=True)
        there = process(storage, committer, name="two")
        there.faults.away = True
        async with there:
            with pytest.raises(StorageUnavailable):
                await there.run_of(caller, run_id)
            assert (await waiting.run_of(caller, run_id)).state is RunState.PENDING
            there.faults.away = False
            assert (await waiting.ended(caller, run_id)).state is RunState.COMPLETED


async def test_a_process_that_stops_claims_nothing_more_and_leaves_it_to_others(
    storage: Storage, committer: LogCommitter, caller: Caller
) -> None:
    gate = Gate(asyncio.Event())
    chat = ScriptedChat([gate, TextPiece("x"), STOP])
    models = Catalogue({"model": chat})
    async with Process(storage, committer, models, room=1, grace=60) as here:
        first, second = await queued(here, caller, await places(storage, caller, 2))
        await chat.wait_for_calls(1)
        stopping = asyncio.create_task(here.stop())
        await until(lambda: here.supervisor.stopping)
        gate.event.set()
        await soon(stopping)
        assert await states(here, caller, [first, second]) == [RunState.COMPLETED, RunState.PENDING]
    async with process(storage, committer, name="two") as there:
        assert (await there.ended(caller, second)).state is RunState.COMPLETED
