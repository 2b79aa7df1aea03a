"""ListRunEvents: how long it waits, and what ends its wait before."""

import asyncio
from typing import Any

import grpc
import pytest

from chatter_grpc._gen.chatter.v1 import run_service_pb2 as pb
from chatter_grpc.adapters.models.scripted import Gate, ScriptedChat
from chatter_grpc.core.models import Finished, FinishReason, TextPiece
from tests.support.edge import CHAT, Account, Edge, EdgeOptions
from tests.support.fold import ClientFold
from tests.support.served import message, request_of
from tests.support.waiting import soon, until

LIST = "/chatter.v1.RunService/ListRunEvents"


@pytest.fixture
def gate() -> asyncio.Event:
    """Holds the model back after its first piece."""
    return asyncio.Event()


@pytest.fixture
def options(gate: asyncio.Event) -> EdgeOptions:
    return EdgeOptions(model=ScriptedChat([TextPiece("a"), Gate(gate), TextPiece("b"), Finished(FinishReason.STOP)]))


@pytest.fixture
async def run_id(edge: Edge, account: Account, conversation_id: str) -> str:
    """A run that has said its first word and goes on when the gate opens."""
    send: Any = edge.channel.unary_stream(f"{CHAT}/SendMessage")
    request = request_of("SendMessage", **message(conversation_id, "Hello"))
    call = send(request.SerializeToString(), metadata=tuple(account.metadata))
    await call.read()
    (found,) = edge.supervisor._active
    await until(lambda: edge.supervisor._active[found].tail.last_seq >= 5)
    call.cancel()
    await until(lambda: not edge.readers.open)
    return str(found)


async def page(edge: Edge, account: Account, *, deadline: float = 60.0, **fields: Any) -> Any:
    """Call the method and return its response."""
    stub: Any = edge.channel.unary_unary(LIST)
    data = pb.ListRunEventsRequest(**fields).SerializeToString()
    return pb.ListRunEventsResponse.FromString(await stub(data, metadata=tuple(account.metadata), timeout=deadline))


async def at_end(edge: Edge, account: Account, run_id: str) -> str:
    """Read all that there is now, and return the cursor behind it."""
    return str((await page(edge, account, run_id=run_id)).cursor)


async def test_a_wait_is_over_before_the_calls_deadline(edge: Edge, account: Account, run_id: str) -> None:
    cursor = await at_end(edge, account, run_id)
    answered = await page(edge, account, run_id=run_id, cursor=cursor, wait={"seconds": 30}, deadline=1.5)
    assert (list(answered.events), answered.cursor, answered.finished) == ([], cursor, False)
    assert not answered.HasField("control")


async def test_pages_fold_to_what_the_stream_folds_to(
    edge: Edge, account: Account, run_id: str, gate: asyncio.Event
) -> None:
    folds = [ClientFold() for _ in range(3)]

    async def poll(fold: ClientFold, size: int) -> None:
        cursor, finished = "", False
        while not finished:
            answered = await page(edge, account, run_id=run_id, cursor=cursor, page_size=size, wait={"seconds": 30})
            fold.take(answered.events)
            cursor, finished = answered.cursor, answered.finished

    polling = [asyncio.create_task(poll(fold, size)) for fold, size in zip(folds, (1, 3, 0), strict=True)]
    await until(lambda: all(fold.seq >= 5 for fold in folds))
    gate.set()
    await soon(asyncio.gather(*polling))
    watched = ClientFold()
    answer = await edge.call("/chatter.v1.RunService/WatchRun", pb.WatchRunRequest(run_id=run_id), account.metadata)
    for frame in answer.responses:
        watched.take(pb.WatchRunResponse.FromString(frame).events)
    assert [(fold.end, fold.stored) for fold in folds] == [("completed", watched.stored)] * 3
    assert list(watched.stored.values()) == ["ab"]


@pytest.mark.platform("T3")
async def test_a_wait_ends_when_the_session_does(edge: Edge, account: Account, run_id: str) -> None:
    """T3: what is revoked while a call waits is not answered any more."""
    cursor = await at_end(edge, account, run_id)
    waiting = asyncio.create_task(page(edge, account, run_id=run_id, cursor=cursor, wait={"seconds": 30}))
    await until(lambda: bool(edge.readers.open))
    assert (await edge.call("/chatter.v1.AuthService/Logout", b"", account.metadata)).code is grpc.StatusCode.OK
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await soon(waiting)
    assert ended.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert not edge.readers.open


async def test_a_server_that_stops_answers_at_once(edge: Edge, account: Account, run_id: str) -> None:
    cursor = await at_end(edge, account, run_id)
    waiting = asyncio.create_task(page(edge, account, run_id=run_id, cursor=cursor, wait={"seconds": 30}))
    await until(lambda: bool(edge.readers.open))
    edge.readers.hand_off()
    answered = await soon(waiting)
    assert (answered.control.WhichOneof("control"), answered.finished, answered.cursor) == ("hand_off", False, cursor)


async def test_a_caller_who_goes_away_leaves_nothing_behind(edge: Edge, account: Account, run_id: str) -> None:
    cursor = await at_end(edge, account, run_id)
    waiting = asyncio.create_task(page(edge, account, run_id=run_id, cursor=cursor, wait={"seconds": 30}))
    await until(lambda: bool(edge.readers.open))
    waiting.cancel()
    await until(lambda: not edge.readers.open)
