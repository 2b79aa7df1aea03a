"""What a server keeps in memory of runs that are over: nothing, although its garbage collector hardly ever looks."""

import asyncio
import gc
from collections.abc import Iterator

import grpc
import pytest

from chatter_grpc._gen.chatter.v1 import run_service_pb2
from chatter_grpc.adapters.models.scripted import Gate, Script, ScriptedChat, answer_script
from chatter_grpc.core.errors import ProviderUnavailable
from chatter_grpc.core.models import TextPiece
from chatter_grpc.core.runs.attempt import Attempt
from chatter_grpc.core.runs.executor import Work
from tests.support.edge import ANSWER, Account, Edge, EdgeOptions
from tests.support.waiting import until

pytestmark = pytest.mark.parametrize("databases", ["sqlite"], indirect=True)
CANCEL = "/chatter.v1.RunService/CancelRun"
SCRIPTS: dict[str, Script] = {
    "completed": answer_script(ANSWER),
    "failed": (TextPiece("Hello"), ProviderUnavailable(provider="scripted")),
    "cancelled": (TextPiece("Hello"), Gate(asyncio.Event()), *answer_script(ANSWER)),
}


@pytest.fixture(params=SCRIPTS)
def end(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def options(end: str) -> EdgeOptions:
    return EdgeOptions(model=ScriptedChat(SCRIPTS[end]))


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def kept() -> list[object]:
    """What is left of attempts and of what they were given."""
    return [each for each in gc.get_objects() if isinstance(each, (Attempt, Work))]


@pytest.mark.usefixtures("no_collector")
async def test_nothing_is_kept_of_a_run_that_is_over(
    edge: Edge, account: Account, conversation_id: str, end: str
) -> None:
    before = len(kept())

    async def cancel() -> None:
        await until(lambda: bool(edge.supervisor.active_count and edge.model.calls))
        (attempt,) = (each for each in kept()[before:] if isinstance(each, Attempt))
        request = run_service_pb2.CancelRunRequest(run_id=attempt.work.run.id)
        assert (await edge.call(CANCEL, request, account.metadata)).code is grpc.StatusCode.OK

    for number in range(2):
        sending = asyncio.create_task(edge.send(account.metadata, conversation_id, "Hello", f"r{number}"))
        if end == "cancelled":
            await cancel()
        assert (await sending).code is grpc.StatusCode.OK
        edge.model.calls.clear()
    await until(lambda: len(kept()) == before)
