"""Two processes, a database that comes and goes, leases that expire, cancellations, clients that lose their streams:
whatever happens, every run ends once, and every client comes to exactly what is stored (G1, G2, G4)."""

import asyncio
import random
from contextlib import suppress

import pytest

from chatter_grpc.adapters.models.scripted import Pause, ProviderError, ScriptedChat, Step
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.conversations import ModelSettings
from chatter_grpc.core.errors import ChatterError, ProviderStreamBroken, RunAlreadyFinished, StorageUnavailable
from chatter_grpc.core.models import Finished, FinishReason, TextPiece
from chatter_grpc.core.pages import PageRequest
from chatter_grpc.core.runs.committer import CommitSettings
from chatter_grpc.core.runs.run import LogCommitter, RunFilter, RunState
from chatter_grpc.core.storage import Storage
from tests.support.catalogues import Catalogue
from tests.support.records import store_conversation
from tests.support.replicas import Client, Process, stored_fold, stored_messages
from tests.support.waiting import eventually, soon

SEEDS = range(4)
CONVERSATIONS = 6
EVENTS = 60
COMMITS = CommitSettings(interval=0.002, retry_pause=0.002, give_up_after=0.1, max_size=2000)


def a_script(chance: random.Random) -> list[Step]:
    words = [f"{number}{chance.choice(['', ' é', ' 漢', ' 😀'])} " for number in range(chance.randrange(5, 150))]
    steps: list[Step] = [step for word in words for step in (TextPiece(word), Pause(0.001))]
    broken: ProviderError = ProviderStreamBroken(provider="scripted")
    return [*steps, chance.choice([Finished(FinishReason.STOP), Finished(FinishReason.LENGTH), broken])]


async def watch(chance: random.Random, processes: list[Process], caller: Caller, run_id: str) -> Client:
    """Read a run to its end, now here, now there, each time from the last cursor."""
    client = Client(processes[0].runs.reader(run_id), caller)
    while not client.fold.end:
        here = chance.choice(processes)
        with suppress(StorageUnavailable):
            client.reader = await here.runs.watch(caller, run_id, client.cursor)
            async with client.reader:
                for _ in range(chance.randrange(20)):
                    if await client.read() is None:
                        break
        await asyncio.sleep(0.001)
    return client


async def trouble(chance: random.Random, processes: list[Process], caller: Caller, storage: Storage) -> None:
    for _ in range(EVENTS):
        here = chance.choice(processes)
        match chance.randrange(6):
            case 0:
                here.faults.away = True
                await asyncio.sleep(chance.choice([0.005, 0.02, 0.2]))
                here.faults.away = False
            case 1:
                here.faults.lost_answers = chance.randrange(3)
            case 2:
                run_ids = list(here.supervisor._active)
                with suppress(RunAlreadyFinished, StorageUnavailable):
                    if run_ids:
                        await here.runs.cancel(caller, chance.choice(run_ids))
            case 3 if chance.random() < 0.3:
                async with storage.write() as tx:
                    await tx.runs.expire_leases()
                with suppress(StorageUnavailable):
                    await here.reaper.reap()
            case _:
                await asyncio.sleep(0.01)
    for here in processes:
        here.faults.away, here.faults.lost_answers = False, 0


async def start(chance: random.Random, processes: list[Process], caller: Caller, conversation_id: str) -> str:
    """Send one message, with the same request id until it is taken, wherever that is."""
    async with asyncio.timeout(60):
        while True:
            with suppress(ChatterError):
                return await chance.choice(processes).send(caller, conversation_id, request_id=conversation_id[-30:])
            await asyncio.sleep(0.005)


async def all_ended(processes: list[Process], storage: Storage, caller: Caller) -> bool:
    """Whether all runs have ended; those that nobody is at work on are taken over."""
    if not any(here.supervisor._owned for here in processes):
        async with storage.write() as tx:
            await tx.runs.expire_leases()
        await processes[0].reaper.reap()
    async with storage.read() as tx:
        return not await tx.runs.active([caller.owner_id])


@pytest.mark.parametrize("seed", SEEDS)
async def test_every_client_comes_to_what_is_stored(
    storage: Storage, committer: LogCommitter, caller: Caller, seed: int
) -> None:
    chance = random.Random(seed)
    models = Catalogue({"model": ScriptedChat(*(a_script(chance) for _ in range(CONVERSATIONS)))})
    conversations = [
        await store_conversation(storage, caller.owner_id, settings=ModelSettings()) for _ in range(CONVERSATIONS)
    ]
    async with (
        Process(storage, committer, models, commits=COMMITS, cancel_seconds=0.05) as here,
        Process(storage, committer, models, name="b", commits=COMMITS, cancel_seconds=0.05) as there,
    ):
        processes = [here, there]
        run_ids = await asyncio.gather(*(start(chance, processes, caller, each.id) for each in conversations))
        watching = [asyncio.create_task(watch(chance, processes, caller, run_id)) for run_id in run_ids for _ in "12"]
        await soon(trouble(chance, processes, caller, storage))
        await eventually(lambda: all_ended(processes, storage, caller))
        clients = await soon(asyncio.gather(*watching))
        async with storage.read() as tx:
            runs = {run.id: run for run in (await tx.runs.list(caller.owner_id, RunFilter(), PageRequest())).items}
    assert set(runs) == set(run_ids), "one run for each request, whatever became of its answers"
    for client in clients:
        run = runs[client.reader.run_id]
        messages = await stored_messages(storage, caller, run.conversation_id)
        assert client.fold.stored == {message.id: message.text for message in messages if message.model}
        fold = await stored_fold(storage, run.id)
        assert {key: message.text for key, message in fold.messages.items()} == client.fold.stored
        assert (run.state.value, run.last_seq, run.attempt) == (client.fold.end, client.fold.seq, client.fold.attempt)
        assert run.state is not RunState.RUNNING
