"""Readers on real logs: fast and slow, here and elsewhere, from any position, many at once (G1, G2, G5)."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from chatter_grpc._gen.chatter.v1.run_service_pb2 import WatchRunResponse
from chatter_grpc.adapters.models.scripted import Gate, Pause, ScriptedChat, Together, answer_script
from chatter_grpc.adapters.sql.committer import open_committer
from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.adapters.sql.engines import DatabaseOptions
from chatter_grpc.adapters.sql.storage import SqlStorage
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.conversations import Conversation, ModelSettings
from chatter_grpc.core.models import Finished, FinishReason, TextPiece
from chatter_grpc.core.runs.reader import Control
from chatter_grpc.core.runs.run import LogCommitter, LogPosition
from chatter_grpc.core.storage import Storage
from chatter_grpc.rpc.frames import frame_of
from tests.support.catalogues import Catalogue
from tests.support.records import store_conversation
from tests.support.replicas import SIGNER, Client, Process, stored_messages
from tests.support.run_logs import singles
from tests.support.waiting import soon, until

STOP = Finished(FinishReason.STOP)
WORDS = [f"{number} " for number in range(300)]
TEXT = "".join(WORDS)
MAX_FRAME = 4 * 1024 * 1024


def words(pause: float = 0.0005) -> ScriptedChat:
    return ScriptedChat([step for word in WORDS for step in (TextPiece(word), Pause(pause))] + [STOP])


async def test_a_slow_reader_gets_everything_in_fewer_frames_and_a_fast_one_does_not_notice(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    async with Process(storage, committer, Catalogue({"model": words()})) as here:
        run_id = await here.send(caller, conversation.id)
        frames: dict[str, int] = {}

        async def read(name: str, pause: float) -> Client:
            client = Client(await here.runs.watch(caller, run_id), caller)
            async with client.reader:
                while await client.read() is not None:
                    frames[name] = frames.get(name, 0) + 1
                    await asyncio.sleep(pause)
            return client

        fast, slow = await soon(asyncio.gather(read("fast", 0), read("slow", 0.05)))
    assert fast.fold.stored == slow.fold.stored
    assert list(fast.fold.stored.values()) == [TEXT]
    assert frames["slow"] < frames["fast"]


async def test_a_reader_elsewhere_sees_the_same_a_little_later(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    models = Catalogue({"model": words()})
    async with Process(storage, committer, models) as here, Process(storage, committer, models, name="b") as there:
        run_id = await here.send(caller, conversation.id)
        near, far = await soon(asyncio.gather(here.follow(caller, run_id), there.follow(caller, run_id)))
    assert near.stored == far.stored
    assert (near.end, far.end) == ("completed", "completed")


async def test_a_log_cut_at_any_position_goes_on_there(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    chat = ScriptedChat([Together((TextPiece("a"), TextPiece("b"))), TextPiece("c"), Pause(0.01), TextPiece("d"), STOP])
    async with Process(storage, committer, Catalogue({"model": chat})) as here:
        run_id = await here.send(caller, conversation.id)
        await here.follow(caller, run_id)
        async with storage.read() as tx:
            log = singles(await tx.runs.read_log(run_id, LogPosition(), MAX_FRAME))
        for seq in range(len(log) + 1):
            client = Client(await here.runs.watch(caller, run_id, LogPosition(1 if seq else 0, seq)), caller)
            found = []
            async with client.reader:
                while (chunk := await soon(client.reader.next())) is not None:
                    found += singles(chunk.entries)
                    client.controls += [chunk.control] if chunk.control else []
            assert found == log[seq:]
            assert client.controls == [Control.CAUGHT_UP]


async def test_a_client_that_loses_its_stream_again_and_again_misses_nothing(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    models = Catalogue({"model": words()})
    async with Process(storage, committer, models) as here, Process(storage, committer, models, name="b") as there:
        run_id = await here.send(caller, conversation.id)
        client = Client(await here.runs.watch(caller, run_id), caller)
        turns = 0
        while client.fold.end == "":
            server = (here, there)[turns % 2]
            turns += 1
            client.reader = await server.runs.watch(caller, run_id, client.cursor)
            async with client.reader:
                for _ in range(turns % 5):
                    if await client.read() is None:
                        break
    assert turns > 5
    assert list(client.fold.stored.values()) == [TEXT]


@pytest.mark.parametrize("letter", ["a", "😀"])
async def test_a_megabyte_at_once_comes_in_frames_that_every_client_takes(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation, letter: str
) -> None:
    text = letter * ((1 << 20) // len(letter.encode()))
    chat = ScriptedChat([Together((TextPiece(text), TextPiece("end"))), STOP])
    sizes = []
    async with Process(storage, committer, Catalogue({"model": chat})) as here:
        run_id = await here.send(caller, conversation.id)

        async def read(name: str) -> Client:
            client = Client(await here.runs.watch(caller, run_id), caller)
            cursors = SIGNER.for_run(caller.owner_id, run_id)
            async with client.reader:
                while (chunk := await soon(client.reader.next())) is not None:
                    sizes.append(frame_of(chunk, cursors, WatchRunResponse).ByteSize())
                    client.take(chunk)
            return client

        live = await read("live")
        late = await read("from the database")
    assert live.fold.stored == late.fold.stored
    assert list(live.fold.stored.values()) == [text + "end"]
    assert max(sizes) < MAX_FRAME / 4
    assert (await stored_messages(storage, caller, conversation.id))[1].text == text + "end"


async def test_a_reader_far_behind_reads_what_memory_has_forgotten(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    gate = asyncio.Event()
    chat = ScriptedChat([*[TextPiece("x" * 5000)] * 60, Gate(gate), TextPiece("end"), STOP])
    async with Process(storage, committer, Catalogue({"model": chat})) as here:
        run_id = await here.send(caller, conversation.id)
        await here.until_written(run_id, 64)
        await until(lambda: (tail := here.supervisor.tail(run_id)) is not None and tail.uncommitted_size == 0)
        tail = here.supervisor.tail(run_id)
        assert tail is not None
        assert tail.read(LogPosition(), 1) is None, "the beginning is no longer in memory"
        watching = here.follow_along(caller, run_id)
        await asyncio.sleep(0.02)
        gate.set()
        assert list((await soon(watching)).stored.values()) == ["x" * 300_000 + "end"]


@pytest.fixture
async def small_database(database_url: str) -> AsyncIterator[Database]:
    """A database that is reached over two connections."""
    database = Database(database_url, DatabaseOptions(pool_size=2, acquire_seconds=30, statement_seconds=30))
    yield database
    await database.close()


@pytest.mark.platform("T14")
async def test_fifty_streams_need_no_more_than_two_connections(small_database: Database, caller: Caller) -> None:
    """T14: no database session is held while a model is silent or a reader is slow."""
    storage, committer = SqlStorage(small_database), await open_committer(small_database)
    gate = asyncio.Event()
    chat = ScriptedChat([TextPiece("Hel"), Gate(gate), TextPiece("lo"), STOP])
    models = Catalogue({"model": chat})
    async with Process(storage, committer, models) as here, Process(storage, committer, models, name="b") as there:
        conversations = [
            await store_conversation(storage, caller.owner_id, settings=ModelSettings()) for _ in range(50)
        ]
        run_ids = await asyncio.gather(*(here.send(caller, each.id) for each in conversations))
        near = [Client(await here.runs.watch(caller, run_id), caller) for run_id in run_ids]
        far = [Client(await there.runs.watch(caller, run_id), caller) for run_id in run_ids]
        reading = [asyncio.create_task(client.read_to_end()) for client in near + far]
        await until(lambda: all(client.fold.seq >= 5 for client in near + far))
        # All models are silent, and all readers wait.
        await until(lambda: not here.storage.open and not there.storage.open)
        assert (await soon(here.runs.get(caller, run_ids[0]))).id == run_ids[0]
        gate.set()
        folds = await soon(asyncio.gather(*reading))
    await committer.close()
    assert [fold.end for fold in folds] == ["completed"] * 100
    assert all(list(fold.stored.values()) == ["Hello"] for fold in folds)


async def test_an_answer_that_is_over_before_its_reader_comes_is_whole(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    async with Process(storage, committer, Catalogue({"model": ScriptedChat(answer_script("A B C"))})) as here:
        run_id = await here.send(caller, conversation.id)
        reader = here.runs.reader(run_id)
        await here.ended(caller, run_id)
        fold = await Client(reader, caller).read_to_end()
        assert (fold.end, list(fold.stored.values())) == ("completed", ["A B C"])
