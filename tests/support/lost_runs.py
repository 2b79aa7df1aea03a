"""Runs whose process went away, and the processes that go on with them."""

from chatter_grpc.adapters.models.scripted import ScriptedChat, Step, answer_script
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.conversations import Memory, ModelSettings
from chatter_grpc.core.runs.run import LogCommitter
from chatter_grpc.core.storage import Storage
from tests.support.catalogues import Catalogue
from tests.support.executors import Hanging
from tests.support.records import store_conversation
from tests.support.replicas import Process


def scripted(*steps: Step) -> Catalogue:
    return Catalogue({"model": ScriptedChat(steps or answer_script("A"), answer_script("A"))})


async def expire(storage: Storage) -> None:
    async with storage.write() as tx:
        await tx.runs.expire_leases()


async def lost_runs(storage: Storage, committer: LogCommitter, caller: Caller, count: int) -> list[str]:
    async with Process(storage, committer, scripted(), executor=Hanging(), name="gone") as gone:
        places = [
            await store_conversation(storage, caller.owner_id, settings=ModelSettings(), memory=Memory())
            for _ in range(count)
        ]
        run_ids = [await gone.send(caller, place.id) for place in places]
        gone.lose_database()
    await expire(storage)
    return run_ids


async def lost_run(storage: Storage, committer: LogCommitter, caller: Caller, conversation_id: str) -> str:
    """Start a run and have its process go away before it called anyone."""
    async with Process(storage, committer, scripted(), executor=Hanging(), name="gone") as gone:
        run_id = await gone.send(caller, conversation_id)
        gone.lose_database()
    await expire(storage)
    return run_id
