"""Graphs of several steps: what has finished is never done again, and never lost or repeated (G1)."""

import asyncio
from collections.abc import Callable

import pytest

from chatter_grpc.adapters.models.scripted import CallState, Gate, ScriptedChat, answer_script
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.conversations import Conversation
from chatter_grpc.core.errors import ProviderRefused
from chatter_grpc.core.models import Finished, FinishReason, TextPiece
from chatter_grpc.core.runs.checkpoints import CheckpointFilter
from chatter_grpc.core.runs.events import NodeFinished
from chatter_grpc.core.runs.run import LogCommitter, RunState
from chatter_grpc.core.runs.tail import Tail
from chatter_grpc.core.storage import Storage
from tests.support.fold import ClientFold
from tests.support.graphs import FORK, Steps, graph_of
from tests.support.replicas import Process, stored_fold, stored_messages
from tests.support.waiting import soon, until


async def kept(storage: Storage, run_id: str) -> int:
    """Count a run's checkpoints."""
    async with storage.read() as tx:
        return len(await tx.checkpoints.list(CheckpointFilter(run_id=run_id)))


async def expire(storage: Storage) -> None:
    async with storage.write() as tx:
        await tx.runs.expire_leases()


async def answers(storage: Storage, caller: Caller, conversation: Conversation, fold: ClientFold) -> list[str]:
    """Return the texts of the answers, which are in the client's fold, in the log's, and stored, in one order."""
    messages = [message for message in await stored_messages(storage, caller, conversation.id) if message.model]
    assert list(fold.stored.items()) == [(message.id, message.text) for message in messages]
    assert fold.last is not None
    in_log = await stored_fold(storage, messages[0].run_id or "")
    assert [(key, message.text) for key, message in in_log.messages.items()] == list(fold.stored.items())
    return [message.text for message in messages]


async def test_branches_run_beside_each_other_and_what_joins_them_sees_both(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    steps = Steps(FORK)
    async with Process(storage, committer, steps.models, graphs=steps.graphs) as here:
        fold = await here.answer(caller, conversation.id, "Hello?")
    assert fold.end == "completed"
    texts = await answers(storage, caller, conversation, fold)
    assert sorted(texts[:2]) == ["this is left", "this is right"]
    assert texts[2] == "this is both"
    (call,) = steps.chats["both"].calls
    assert [turn.text for turn in call.request.turns] == ["Hello?", "this is left", "this is right"]


async def test_a_branch_that_finished_is_not_asked_again_and_the_other_is(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    gate = asyncio.Event()
    right = ScriptedChat((TextPiece("half"), Gate(gate), Finished(FinishReason.STOP)), answer_script("this is right"))
    steps = Steps(FORK, {"right": right})
    async with (
        Process(storage, committer, steps.models, graphs=steps.graphs) as here,
        Process(storage, committer, steps.models, graphs=steps.graphs, name="b") as there,
    ):
        run_id = await here.send(caller, conversation.id)
        reading = here.follow_along(caller, run_id)
        await until(lambda: (tail := here.supervisor.tail(run_id)) is not None and "left" in finished(tail))
        await expire(storage)
        await there.take_over()
        # The attempt before hears of it as it writes again, and its readers with it.
        gate.set()
        fold = await soon(reading)
        await until(lambda: not here.supervisor.active_count)
        assert (await there.ended(caller, run_id)).attempt == 2
    assert steps.calls == {"left": 1, "right": 2, "both": 1}
    assert sorted(await answers(storage, caller, conversation, fold)) == sorted(map(steps.text_of, steps.ids))


async def test_a_step_is_finished_in_the_transaction_that_keeps_what_it_wrote(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    """Nothing is shown of an end of a step that the database has not taken, and no group commits it alone."""
    gate = asyncio.Event()
    left = ScriptedChat((TextPiece("this is left"), Gate(gate), Finished(FinishReason.STOP)))
    right = ScriptedChat((TextPiece("this is right"), Gate(asyncio.Event()), Finished(FinishReason.STOP)))
    steps = Steps(FORK, {"left": left, "right": right})
    async with Process(storage, committer, steps.models, graphs=steps.graphs) as here:
        run_id = await here.send(caller, conversation.id)
        await until(lambda: all(steps.calls[id_] == 1 for id_ in ("left", "right")))
        await until(lambda: (tail := here.supervisor.tail(run_id)) is not None and tail.committed_seq == tail.last_seq)
        here.faults.away = True
        gate.set()
        await until(lambda: left.calls[0].state is CallState.FINISHED)
        await asyncio.sleep(0.05)
        assert "left" not in (await stored_fold(storage, run_id)).finished_nodes
        here.faults.away = False
        tail = here.supervisor.tail(run_id)
        assert tail is not None
        await until(lambda: "left" in finished(tail))
        assert "left" in (await stored_fold(storage, run_id)).finished_nodes
        async with storage.read() as tx:
            (latest, *_) = await tx.checkpoints.list(CheckpointFilter(run_id=run_id))
            assert await tx.checkpoints.writes(latest.place, latest.id)
        await here.runs.cancel(caller, run_id)


def finished(tail: Tail) -> set[str]:
    """Return the nodes whose end a tail has seen committed."""
    return {
        entry.body.node_id
        for entry in (*tail._committed, *tail._entries)
        if isinstance(entry.body, NodeFinished) and entry.seq <= tail.committed_seq
    }


@pytest.mark.parametrize("lost", range(1, 12))
async def test_a_commit_whose_answer_is_lost_is_not_written_twice(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation, lost: int
) -> None:
    steps = Steps(FORK)
    async with Process(storage, committer, steps.models, graphs=steps.graphs) as here:
        here.faults.at_commit = counting(here, lost)
        fold = await here.answer(caller, conversation.id)
    assert fold.end == "completed"
    assert steps.calls == {"left": 1, "right": 1, "both": 1}
    assert sorted(await answers(storage, caller, conversation, fold)) == sorted(map(steps.text_of, steps.ids))


def counting(process: Process, number: int) -> Callable[[], None]:
    commits = 0

    def at_commit() -> None:
        nonlocal commits
        commits += 1
        # The first is the start's, which its caller has to repeat.
        if commits == number + 1:
            process.faults.lost_answers = 1

    return at_commit


async def test_where_a_branch_fails_the_others_are_closed_at_once_and_keep_what_they_said(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    fail = asyncio.Event()
    refused = ProviderRefused(provider="scripted", status=400)
    left = ScriptedChat((TextPiece("x"), Gate(fail), refused))
    right = ScriptedChat((TextPiece("half"), Gate(asyncio.Event()), Finished(FinishReason.STOP)))
    steps = Steps(FORK, {"left": left, "right": right})
    async with Process(storage, committer, steps.models, graphs=steps.graphs) as here:
        run_id = await here.send(caller, conversation.id)
        reading = here.follow_along(caller, run_id)
        await until(lambda: steps.calls["right"] == 1 and bool(right.calls[0].delivered))
        await until(lambda: steps.calls["left"] == 1 and bool(left.calls[0].delivered))
        fail.set()
        fold = await soon(reading)
        run = await here.ended(caller, run_id)
    assert (fold.end, run.failure_reason) == ("failed", refused.reason)
    assert right.calls[0].state is CallState.CLOSED
    assert await answers(storage, caller, conversation, fold) == ["half"]
    assert steps.calls["both"] == 0
    assert fold.usage.output_tokens == run.usage.output_tokens > 0


async def test_a_cancelled_run_keeps_what_its_branches_said(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    shut = (Gate(asyncio.Event()), Finished(FinishReason.STOP))
    chats = {id_: ScriptedChat((TextPiece(f"half of {id_}"), *shut)) for id_ in ("left", "right")}
    steps = Steps(FORK, chats)
    async with Process(storage, committer, steps.models, graphs=steps.graphs) as here:
        run_id = await here.send(caller, conversation.id)
        reading = here.follow_along(caller, run_id)
        await until(lambda: all(chat.calls and chat.calls[0].delivered for chat in chats.values()))
        await here.runs.cancel(caller, run_id)
        fold = await soon(reading)
        assert (await here.ended(caller, run_id)).state is RunState.CANCELLED
    assert fold.end == "cancelled"
    assert sorted(await answers(storage, caller, conversation, fold)) == ["half of left", "half of right"]
    assert [chat.calls[0].state for chat in chats.values()] == [CallState.CLOSED, CallState.CLOSED]


async def test_messages_stand_in_the_order_in_which_they_began_whichever_ends_first(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    gate = asyncio.Event()
    first = ScriptedChat((TextPiece("this is "), Gate(gate), TextPiece("left"), Finished(FinishReason.STOP)))
    second = ScriptedChat((Gate(asyncio.Event()), *answer_script("this is right")))
    steps = Steps(FORK, {"left": first})
    steps.chats["right"] = ScriptedChat((Gate(gate_of_second := asyncio.Event()), *answer_script("this is right")))
    del second
    async with Process(storage, committer, steps.models, graphs=steps.graphs) as here:
        run_id = await here.send(caller, conversation.id)
        reading = here.follow_along(caller, run_id)
        await until(lambda: bool(first.calls and first.calls[0].delivered))
        gate_of_second.set()
        await until(lambda: (tail := here.supervisor.tail(run_id)) is not None and "right" in finished(tail))
        gate.set()
        fold = await soon(reading)
    assert await answers(storage, caller, conversation, fold) == ["this is left", "this is right", "this is both"]


async def test_a_run_that_ended_leaves_no_checkpoint(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    steps = Steps(FORK)
    async with Process(storage, committer, steps.models, graphs=steps.graphs) as here:
        run_id = await here.send(caller, conversation.id)
        await here.ended(caller, run_id)
    assert await kept(storage, run_id) == 0


async def test_two_joins_wait_for_all_that_lead_to_them(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    edges = [("start", id_) for id_ in "abc"] + [("a", "d"), ("b", "d"), ("b", "e"), ("c", "e")]
    steps = Steps(graph_of([*edges, ("d", "f"), ("e", "f"), ("f", "end")]))
    async with Process(storage, committer, steps.models, graphs=steps.graphs) as here:
        fold = await here.answer(caller, conversation.id)
    assert fold.end == "completed"
    assert sorted(await answers(storage, caller, conversation, fold)) == sorted(map(steps.text_of, steps.ids))
    assert set(steps.calls.values()) == {1}
