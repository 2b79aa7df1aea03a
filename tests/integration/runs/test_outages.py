"""A database that goes away for a moment costs nothing; one that stays away costs the runs, and hangs nobody."""

import asyncio
import logging

import pytest

from chatter_grpc.adapters.models.scripted import CallState, Gate, Pause, ScriptedChat, answer_script
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.clock import utc_now
from chatter_grpc.core.conversations import Conversation
from chatter_grpc.core.errors import StorageUnavailable
from chatter_grpc.core.models import Finished, FinishReason, TextPiece
from chatter_grpc.core.runs.committer import CommitSettings
from chatter_grpc.core.runs.run import LogCommitter, RunState
from chatter_grpc.core.runs.supervisor import RunSettings
from chatter_grpc.core.storage import Storage
from tests.support.catalogues import Catalogue
from tests.support.replicas import Process, stored_fold, stored_messages
from tests.support.waiting import soon, until

STOP = Finished(FinishReason.STOP)
WORDS = [f"{number} " for number in range(200)]
TEXT = "".join(WORDS)
PATIENT = CommitSettings(interval=0.002, retry_pause=0.002)


def slow_words() -> ScriptedChat:
    return ScriptedChat([step for word in WORDS for step in (TextPiece(word), Pause(0.0005))] + [STOP])


def gated(gate: asyncio.Event) -> ScriptedChat:
    return ScriptedChat([TextPiece("Hel"), Gate(gate), TextPiece("lo"), STOP], answer_script("A"))


async def whole(storage: Storage, caller: Caller, conversation: Conversation, run_id: str, expected: str) -> None:
    """See that a run stored its answer once, and that its log says the same."""
    _, answer = await stored_messages(storage, caller, conversation.id)
    assert answer.text == expected
    fold = await stored_fold(storage, run_id)
    assert {key: message.text for key, message in fold.messages.items()} == {answer.id: expected}
    async with storage.read() as tx:
        assert (await tx.conversations.get(caller.owner_id, conversation.id)).message_count == 2


async def test_a_moments_outage_in_mid_answer_is_not_noticed(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    async with Process(storage, committer, Catalogue({"model": slow_words()}), commits=PATIENT) as here:
        run_id = await here.send(caller, conversation.id)
        watching = here.follow_along(caller, run_id)
        for seq in (20, 60, 100):
            await here.until_written(run_id, seq)
            here.faults.away = True
            await here.until_written(run_id, seq + 20)
            here.faults.away = False
        client = await soon(watching)
        assert (client.end, list(client.stored.values())) == ("completed", [TEXT])
    await whole(storage, caller, conversation, run_id, TEXT)


async def test_commits_whose_answers_are_lost_are_written_once(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    async with Process(storage, committer, Catalogue({"model": slow_words()}), commits=PATIENT) as here:
        run_id = await here.send(caller, conversation.id)
        here.faults.lost_answers = 10
        client = await here.follow(caller, run_id)
        assert here.faults.lost_answers == 0
        assert list(client.stored.values()) == [TEXT]
    await whole(storage, caller, conversation, run_id, TEXT)


async def test_an_outage_at_the_end_delays_the_end(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    gate = asyncio.Event()
    async with Process(storage, committer, Catalogue({"model": gated(gate)}), commits=PATIENT) as here:
        run_id = await here.send(caller, conversation.id)
        watching = here.follow_along(caller, run_id)
        await here.until_written(run_id)
        here.faults.away = True
        gate.set()
        await asyncio.sleep(0.02)
        assert not watching.done(), "an end that is not durable is not told"
        here.faults.away = False
        client = await soon(watching)
        assert client.end == "completed"
    await whole(storage, caller, conversation, run_id, "Hello")


async def test_an_outage_within_the_last_transaction_takes_it_back_whole(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    gate = asyncio.Event()
    tries: list[int] = []
    async with Process(storage, committer, Catalogue({"model": gated(gate)}), commits=PATIENT) as here:
        run_id = await here.send(caller, conversation.id)
        await here.until_written(run_id)

        def fail_twice() -> None:
            tries.append(len(tries))
            if len(tries) < 3:
                raise StorageUnavailable

        here.faults.at_commit = fail_twice
        gate.set()
        assert (await here.follow(caller, run_id)).end == "completed"
        assert len(tries) == 3
    await whole(storage, caller, conversation, run_id, "Hello")


@pytest.mark.parametrize("lost", [1, 3])
async def test_an_end_whose_answer_was_lost_is_the_end(
    storage: Storage,
    committer: LogCommitter,
    caller: Caller,
    conversation: Conversation,
    lost: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate = asyncio.Event()
    async with Process(storage, committer, Catalogue({"model": gated(gate)}), commits=PATIENT) as here:
        run_id = await here.send(caller, conversation.id)
        watching = here.follow_along(caller, run_id)
        await here.until_written(run_id)
        here.faults.at_commit = lambda: setattr(here.faults, "lost_answers", lost)
        gate.set()
        client = await soon(watching)
        assert client.end == "completed"
        assert (await here.run_of(caller, run_id)).attempt == 1
    complaints = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert not complaints, "the run's own process knows that it ended it"
    await whole(storage, caller, conversation, run_id, "Hello")


async def test_an_end_that_came_too_late_for_its_lease_is_that_of_the_one_who_took_the_run(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    gate = asyncio.Event()
    models = Catalogue({"model": gated(gate)})
    async with (
        Process(storage, committer, models, commits=PATIENT) as here,
        Process(storage, committer, models, name="b") as there,
    ):
        run_id = await here.send(caller, conversation.id)
        watching = here.follow_along(caller, run_id)
        await here.until_written(run_id)
        here.faults.away = True
        gate.set()
        await asyncio.sleep(0.02)
        async with storage.write() as tx:
            await tx.runs.expire_leases()
        await there.take_over()
        here.faults.away = False
        client = await soon(watching)
        assert (client.end, client.attempt) == ("completed", 2)
        await until(lambda: not here.supervisor.active_count)
    await whole(storage, caller, conversation, run_id, "A")


async def test_a_run_whose_lease_cannot_be_renewed_stops_before_another_may_take_it(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    chat = gated(asyncio.Event())
    short = RunSettings(lease=0.3, renew=0.01, cancel_poll=0.01)
    async with Process(storage, committer, Catalogue({"model": chat}), runs=short) as here:
        run_id = await here.send(caller, conversation.id)
        watching = here.follow_along(caller, run_id)
        await here.until_written(run_id)
        await until(lambda: (tail := here.supervisor.tail(run_id)) is not None and tail.uncommitted_size == 0)
        here.faults.away = True
        await until(lambda: chat.calls[0].state is CallState.CLOSED)
        with pytest.raises(StorageUnavailable):
            await soon(watching)
        await until(lambda: not here.supervisor.active_count)
        here.faults.away = False


async def test_the_provider_is_not_read_on_while_too_much_is_uncommitted(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    chat = ScriptedChat([TextPiece("x" * 100)] * 200 + [STOP])
    bounded = CommitSettings(interval=0.002, retry_pause=0.002, max_size=1000)
    async with Process(storage, committer, Catalogue({"model": chat}), commits=bounded) as here:
        here.log.gate.clear()
        run_id = await here.send(caller, conversation.id)
        await until(lambda: here.log.waiting == 1)
        await asyncio.sleep(0.02)
        tail = here.supervisor.tail(run_id)
        assert tail is not None
        assert tail.uncommitted_size < 2000
        assert len(chat.calls[0].delivered) < 20
        here.log.gate.set()
        client = await here.follow(caller, run_id)
        assert list(client.stored.values()) == ["x" * 20_000]
    await whole(storage, caller, conversation, run_id, "x" * 20_000)


async def test_a_database_that_stays_away_costs_the_runs_and_hangs_nobody(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    chat = slow_words()
    async with Process(storage, committer, Catalogue({"model": chat})) as here:
        run_id = await here.send(caller, conversation.id)
        watching = here.follow_along(caller, run_id)
        await here.until_written(run_id, 20)
        here.lose_database()
        await until(lambda: chat.calls[0].state is CallState.CLOSED)
        with pytest.raises(StorageUnavailable):
            await soon(watching)
        await until(lambda: not here.supervisor.active_count)
        here.faults.away = False
        assert (await here.run_of(caller, run_id)).state is RunState.RUNNING
        async with storage.write() as tx:
            await tx.runs.expire_leases()
        await here.take_over()
        client = await here.follow(caller, run_id)
        assert (client.end, client.attempt) == ("completed", 2)
        await whole(storage, caller, conversation, run_id, TEXT)
        assert (await here.answer(caller, conversation.id)).end == "completed", "and everything goes on"


async def test_an_end_that_cannot_be_written_is_left_to_the_reaper(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    gate = asyncio.Event()
    async with Process(storage, committer, Catalogue({"model": gated(gate)})) as here:
        run_id = await here.send(caller, conversation.id)
        await here.until_written(run_id)
        await until(lambda: (tail := here.supervisor.tail(run_id)) is not None and tail.uncommitted_size == 0)
        here.lose_database()
        gate.set()
        await until(lambda: not here.supervisor.active_count)
        here.faults.away = False
        async with storage.write() as tx:
            await tx.runs.expire_leases()
        await here.take_over()
        client = await here.follow(caller, run_id)
        assert (client.end, client.attempt) == ("completed", 2)
    await whole(storage, caller, conversation, run_id, "A")


async def test_a_stop_while_the_database_is_away_comes_to_its_end(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    chat = gated(asyncio.Event())
    async with Process(storage, committer, Catalogue({"model": chat})) as here:
        run_id = await here.send(caller, conversation.id)
        await here.until_written(run_id)
        here.lose_database()
        await here.stop()
        assert chat.calls[0].state is CallState.CLOSED
        assert not here.supervisor.active_count
    async with storage.read() as tx:
        assert (await tx.runs.get(caller.owner_id, run_id)).state is RunState.RUNNING


async def test_an_end_that_is_our_fault_is_told_and_left_to_the_reaper(
    storage: Storage,
    committer: LogCommitter,
    caller: Caller,
    conversation: Conversation,
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate = asyncio.Event()

    def fail() -> None:
        raise ZeroDivisionError

    async with Process(storage, committer, Catalogue({"model": gated(gate)})) as here:
        run_id = await here.send(caller, conversation.id)
        watching = here.follow_along(caller, run_id)
        await here.until_written(run_id)
        here.faults.at_commit = fail
        gate.set()
        await until(lambda: not here.supervisor.active_count)
        assert "run_end_fault" in caplog.messages
        here.faults.at_commit = lambda: None
        assert not watching.done(), "its readers wait for what the reaper writes"
        async with storage.write() as tx:
            await tx.runs.expire_leases()
        await here.take_over()
        client = await soon(watching)
        assert (client.end, client.attempt) == ("completed", 2)
    # Whether the node had finished is a matter of when its end was committed.
    (text,) = client.stored.values()
    assert text in {"Hello", "A"}
    await whole(storage, caller, conversation, run_id, text)


async def test_an_intent_to_cancel_that_came_during_an_outage_is_carried_out_after_it(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    chat = gated(asyncio.Event())
    async with Process(storage, committer, Catalogue({"model": chat}), commits=PATIENT) as here:
        run_id = await here.send(caller, conversation.id)
        await here.until_written(run_id)
        here.faults.away = True
        async with storage.write() as tx:
            await tx.runs.request_cancel((run_id,), utc_now())
        await asyncio.sleep(0.02)
        here.faults.away = False
        assert (await here.ended(caller, run_id)).state is RunState.CANCELLED
        assert chat.calls[0].state is CallState.CLOSED
