"""What becomes of a run, and what the log says, when a client goes away that has not read for a while."""

import asyncio
import itertools

import grpc
import pytest

from chatter_grpc._gen.chatter.v1 import chat_service_pb2, content_pb2, run_pb2
from chatter_grpc.adapters.models.scripted import Gate, ScriptedChat
from chatter_grpc.core.models import Finished, FinishReason, TextPiece
from chatter_grpc.core.runs.run import Run, RunState
from tests.support.edge import CHAT, Account, Edge, EdgeOptions
from tests.support.logs import Log
from tests.support.waiting import eventually, until

pytestmark = pytest.mark.parametrize("databases", ["sqlite"], indirect=True)
# Far more than the transport holds for a client that does not read, and less than an answer may be.
PIECES = 30
PIECE = "x" * 64 * 1024
SMALL_WINDOW = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.http2.lookahead_bytes", 64 * 1024),
    ("grpc.http2.bdp_probe", 0),
]


@pytest.fixture
def never() -> asyncio.Event:
    """Holds the model back after its last piece."""
    return asyncio.Event()


@pytest.fixture
def options(never: asyncio.Event) -> EdgeOptions:
    said = itertools.repeat(TextPiece(PIECE), PIECES)
    return EdgeOptions(model=ScriptedChat((*said, Gate(never), Finished(FinishReason.STOP))))


async def test_a_run_that_is_to_end_with_its_stream_ends_while_a_frame_waits_for_the_client(
    edge: Edge, account: Account, conversation_id: str, log: Log
) -> None:
    request = chat_service_pb2.SendMessageRequest(
        request_id="r1",
        conversation_id=conversation_id,
        parts=[content_pb2.ContentPart(text=content_pb2.TextPart(text="Hello"))],
        on_disconnect=run_pb2.ON_DISCONNECT_CANCEL,
    )
    async with grpc.aio.insecure_channel(edge.address, options=SMALL_WINDOW) as channel:
        send: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(f"{CHAT}/SendMessage")
        call = send(request.SerializeToString(), metadata=tuple(account.metadata))
        frame = await call.read()
        assert isinstance(frame, bytes)
        run_id = chat_service_pb2.SendMessageResponse.FromString(frame).events[0].run_started.run_id
        await until(lambda: len(edge.model.calls[0].delivered) == PIECES)
        (reader,) = edge.readers.open
        tail = edge.supervisor.tail(run_id)
        assert tail is not None
        assert reader.position.seq < tail.last_seq
        call.cancel()

    async def read() -> Run:
        async with edge.replica.storage.read() as tx:
            return await tx.runs.get(account.user.id, run_id)

    async def has_ended() -> bool:
        return (await read()).state is not RunState.RUNNING

    await eventually(has_ended)
    assert (await read()).state is RunState.CANCELLED
    (left,) = [event for event in await log.wait_for("call") if event["method"] == f"{CHAT}/SendMessage"]
    assert left["code"] == "CANCELLED"
    assert not [event for event in log.events() if event["level"] == "error"]
