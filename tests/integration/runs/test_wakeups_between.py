"""A reader hears of a run that is at work in another process, by the wake-ups and nothing else: no clock ticks here."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from chatter_grpc.adapters.memory.wakeups import MemoryWakeUps
from chatter_grpc.adapters.models.scripted import Gate, ScriptedChat
from chatter_grpc.adapters.redis.connection import RedisLink
from chatter_grpc.adapters.redis.wakeups import RedisCarrier
from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.adapters.sql.wakeups import PostgresCarrier
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.conversations import Conversation
from chatter_grpc.core.models import Finished, FinishReason, TextPiece
from chatter_grpc.core.runs.relay import Carrier, RelayedWakeUps
from chatter_grpc.core.runs.run import LogCommitter, RunState
from chatter_grpc.core.runs.supervisor import RunSettings
from chatter_grpc.core.storage import Storage
from tests.support.catalogues import Catalogue
from tests.support.replicas import Client, Process
from tests.support.waiting import soon
from tests.support.wakeups import NO_TICK, hear_each_other

pytestmark = [
    pytest.mark.parametrize("databases", ["postgres"], indirect=True),
    pytest.mark.platform("T20"),
]


@pytest.fixture(params=["redis", "postgres"])
async def carriers(
    request: pytest.FixtureRequest, redis_links: Callable[[], RedisLink], database_url: str
) -> AsyncIterator[list[Carrier]]:
    """The way between the processes, from each of them."""
    async with AsyncExitStack() as stack:
        made: list[Carrier] = []
        for _ in range(2):
            if request.param == "redis":
                link = redis_links()
                await link.check()
                made.append(RedisCarrier(link))
            else:
                database = Database(database_url)
                stack.push_async_callback(database.close)
                made.append(PostgresCarrier(database))
        yield made


async def test_a_reader_elsewhere_is_woken_for_all_that_is_committed(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation, carriers: list[Carrier]
) -> None:
    more = asyncio.Event()
    script = (TextPiece("one "), Gate(more), TextPiece("two"), Finished(FinishReason.STOP))
    models = Catalogue({"model": ScriptedChat(script)})
    wakeups = [RelayedWakeUps(MemoryWakeUps(NO_TICK), [carrier]) for carrier in carriers]
    async with (
        Process(storage, committer, models, name="one", wakeups=wakeups[0]) as here,
        Process(storage, committer, models, name="two", wakeups=wakeups[1]) as there,
    ):
        await hear_each_other(*wakeups)
        run_id = await here.send(caller, conversation.id)
        client = Client(await there.runs.watch(caller, run_id), caller)
        async with client.reader:
            while not any(message.text for message in client.fold.messages.values()):
                assert await client.read() is not None
            waiting = asyncio.create_task(client.read())
            more.set()
            while await soon(waiting) is not None:
                waiting = asyncio.create_task(client.read())
        assert client.fold.end == "completed"
        assert [message.text for message in client.fold.messages.values()] == ["one two"]


async def test_a_run_elsewhere_is_cancelled_without_waiting_for_a_look_at_the_database(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation, carriers: list[Carrier]
) -> None:
    script = (TextPiece("one "), Gate(asyncio.Event()), Finished(FinishReason.STOP))
    models = Catalogue({"model": ScriptedChat(script)})
    wakeups = [RelayedWakeUps(MemoryWakeUps(NO_TICK), [carrier]) for carrier in carriers]
    never = RunSettings(cancel_poll=3600)
    async with (
        Process(storage, committer, models, name="one", wakeups=wakeups[0], runs=never) as here,
        Process(storage, committer, models, name="two", wakeups=wakeups[1], runs=never) as there,
    ):
        await hear_each_other(*wakeups)
        run_id = await here.send(caller, conversation.id)
        await here.until_written(run_id)
        assert (await soon(there.runs.cancel(caller, run_id))).state is RunState.CANCELLED
