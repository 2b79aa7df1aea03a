"""Leases of the runs at work: what a renewal that fails costs."""

import asyncio
from dataclasses import replace

import pytest

from chatter_grpc.adapters.models.scripted import Gate
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.conversations import Conversation
from chatter_grpc.core.errors import StorageUnavailable
from chatter_grpc.core.models import Finished, FinishReason, TextPiece
from chatter_grpc.core.runs.run import LogCommitter
from chatter_grpc.core.runs.supervisor import RunSettings
from chatter_grpc.core.storage import Storage
from tests.support.lost_runs import expire, lost_runs, scripted
from tests.support.replicas import Process
from tests.support.waiting import until


@pytest.mark.parametrize("fault", [StorageUnavailable, ZeroDivisionError], ids=["away", "a fault of ours"])
async def test_a_renewal_that_fails_is_tried_again_well_before_the_next_one_is_due(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation, fault: type[Exception]
) -> None:
    failed: list[bool] = []
    words = scripted(TextPiece("Hel"), Gate(asyncio.Event()), Finished(FinishReason.STOP))
    often = RunSettings(lease=600.0, renew=0.01, cancel_poll=0.01)
    async with Process(storage, committer, words, runs=often) as here:
        run_id = await here.send(caller, conversation.id)
        await here.until_written(run_id)
        tail = here.supervisor.tail(run_id)
        assert tail is not None

        def fail() -> None:
            failed.append(True)
            raise fault

        # Of all that writes, only the renewal comes this way now. What is due after it is a long time away.
        here.faults.at_commit = fail
        here.supervisor.settings = replace(often, renew=3600)
        await until(lambda: bool(failed))
        held_until = tail.held_until
        here.faults.at_commit = lambda: None
        await until(lambda: tail.held_until > held_until)


async def test_a_process_does_not_take_its_own_runs_when_the_databases_clock_leaps(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    (lost,) = await lost_runs(storage, committer, caller, 1)
    words = scripted(TextPiece("Hel"), Gate(asyncio.Event()), Finished(FinishReason.STOP))
    async with Process(storage, committer, words, runs=RunSettings(renew=3600)) as here:
        run_id = await here.send(caller, conversation.id)
        await here.until_written(run_id)
        await expire(storage)
        reaping = asyncio.create_task(here.reaper.run())
        await until(lambda: here.supervisor.tail(lost) is not None)
        reaping.cancel()
        await asyncio.wait((reaping,))
        assert (await here.run_of(caller, lost)).attempt == 2
        assert (await here.run_of(caller, run_id)).attempt == 1
        tail = here.supervisor.tail(run_id)
        assert tail is not None
        assert not tail.lost
