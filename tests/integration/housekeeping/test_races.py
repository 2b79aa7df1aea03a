"""A purge and what others do at the same moment: one of them wins, and neither sees half of the other."""

import asyncio
from datetime import timedelta

import pytest

from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.conversation_service import Conversations
from chatter_grpc.core.conversations import PURGE_AFTER
from chatter_grpc.core.errors import ConversationNotFound, CursorExpired, MessageNotFound, RunNotFound
from chatter_grpc.core.forking import Fork, Forking
from chatter_grpc.core.housekeeping.duties import Duty
from chatter_grpc.core.pages import PageRequest
from chatter_grpc.core.runs.reader import RunReader
from chatter_grpc.core.runs.run import LogCommitter, LogPosition
from chatter_grpc.core.storage import Storage
from tests.support.catalogues import Catalogue
from tests.support.housekeeping import delete_conversation, rows_naming, store_laden_conversation, sweep
from tests.support.keepers import Keeper
from tests.support.records import NOW, batch_of, deltas_of, finish_run, last_batch, start_run, store_conversation
from tests.support.waiting import soon

PURGE = NOW + PURGE_AFTER
TRIALS = 10


@pytest.mark.parametrize("limit", [1, 500])
async def test_bringing_back_at_the_last_moment_wins_or_loses(
    storage: Storage, database: Database, caller: Caller, limit: int
) -> None:
    # Its clock is behind the one of the process that keeps house.
    service = Conversations(
        storage=storage, models=Catalogue({}), cancel_runs=lambda _: None, clock=lambda: PURGE - timedelta(seconds=1)
    )
    for trial in range(TRIALS):
        conversation, ids = await store_laden_conversation(storage, caller.owner_id)
        await delete_conversation(storage, conversation, PURGE)

        async def bring_back(conversation_id: str = conversation.id, trial: int = trial) -> bool:
            await asyncio.sleep(0.001 * trial)
            try:
                await service.undelete(caller, conversation_id)
            except ConversationNotFound:
                return False
            return True

        # In the first trial it comes in time, and in the last one too late.
        early = trial == 0 and await bring_back()
        purge = asyncio.create_task(sweep(storage, PURGE, Duty.CONVERSATIONS, limit=limit))
        if trial == TRIALS - 1:
            await purge
        back = early or await bring_back()
        await purge
        assert early or trial > 0
        assert not back or trial < TRIALS - 1
        # Whatever it passed over, because somebody held it, is for the next time.
        await sweep(storage, PURGE, Duty.CONVERSATIONS, limit=limit)
        if back:
            async with storage.read() as tx:
                page = await tx.messages.list(caller.owner_id, conversation.id, PageRequest(), newest_first=False)
            assert len(page.items) == 6
        else:
            assert set(await rows_naming(database, ids)) == {"audit_log", "requests"}


async def test_a_reader_in_the_middle_of_a_log_is_told_that_it_was_purged(
    storage: Storage, committer: LogCommitter, caller: Caller
) -> None:
    conversation = await store_conversation(storage, caller.owner_id)
    run = await start_run(storage, conversation)
    for number in range(3):
        assert not await committer.commit([batch_of(run, 3 + number, [deltas_of("x" * 100_000)])])
    run_end = batch_of(run, 6, [last_batch(run).entries[0].body])
    assert await finish_run(storage, run, last=run_end)
    await delete_conversation(storage, conversation, PURGE)
    async with Keeper(storage, committer) as keeper:
        reader = await keeper.runs.watch(caller, run.id)
        async with reader:
            chunk = await soon(reader.next())
            assert chunk is not None
            assert 0 < chunk.position.seq < 6
            await sweep(storage, PURGE, Duty.CONVERSATIONS)
            with pytest.raises(CursorExpired):
                await soon(_to_end(reader))
        with pytest.raises(RunNotFound):
            await keeper.runs.watch(caller, run.id, LogPosition())


async def _to_end(reader: RunReader) -> None:
    while await reader.next() is not None:
        pass


async def test_a_fork_that_is_made_meanwhile_is_whole_or_there_is_none(
    storage: Storage, database: Database, caller: Caller
) -> None:
    service = Conversations(storage=storage, models=Catalogue({}), cancel_runs=lambda _: None, clock=lambda: NOW)
    forking = Forking(storage, lambda: NOW)
    for trial in range(TRIALS):
        conversation, ids = await store_laden_conversation(storage, caller.owner_id)
        last = ids[-1]

        async def fork(message_id: str = last, trial: int = trial) -> str | None:
            await asyncio.sleep(0.001 * trial)
            try:
                return (await forking.fork(caller, Fork(message_id=message_id), None)).id
            except (MessageNotFound, ConversationNotFound):
                return None

        async def delete_and_purge(conversation_id: str = conversation.id) -> None:
            await service.delete(caller, conversation_id)
            await sweep(storage, PURGE, Duty.CONVERSATIONS, limit=2)

        made, _ = await asyncio.gather(fork(), delete_and_purge())
        await sweep(storage, PURGE, Duty.CONVERSATIONS)
        assert (await rows_naming(database, [conversation.id]))["conversations"] == 0
        if made is not None:
            async with storage.read() as tx:
                page = await tx.messages.list(caller.owner_id, made, PageRequest(), newest_first=False)
            assert len(page.items) == 6
