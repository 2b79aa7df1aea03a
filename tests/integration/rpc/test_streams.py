"""A caller may have so many streams open at a time; one that ends, however it ends, makes room for the next."""

import asyncio

import grpc
import pytest
from google.rpc import error_details_pb2

from chatter_grpc.adapters.memory.slots import MemorySlots
from chatter_grpc.adapters.models.scripted import Gate, ScriptedChat
from chatter_grpc.core.models import Finished, FinishReason, TextPiece
from tests.support.edge import Account, Answer, Edge, EdgeOptions
from tests.support.waiting import soon, until

pytestmark = [
    pytest.mark.parametrize("databases", ["sqlite"], indirect=True),
    pytest.mark.platform("T19"),
]
AMOUNT = 2


@pytest.fixture
def said() -> asyncio.Event:
    """Holds the model back before its last word."""
    return asyncio.Event()


@pytest.fixture
def options(said: asyncio.Event) -> EdgeOptions:
    script = (TextPiece("Well"), Gate(said), TextPiece("."), Finished(FinishReason.STOP))
    return EdgeOptions(model=ScriptedChat(script), streams_per_caller=AMOUNT)


def held(edge: Edge) -> int:
    """How many callers hold a stream, as the server counts."""
    slots = edge.services.slots
    assert isinstance(slots, MemorySlots)
    return len(slots)


async def send(edge: Edge, account: Account, request_id: str) -> "asyncio.Task[Answer]":
    """Have a message answered in a conversation of its own; the stream is open as long as the answer is not over."""
    at_work = edge.supervisor.active_count
    conversation = await edge.new_conversation(account.metadata)
    stream = asyncio.create_task(edge.send(account.metadata, conversation.id, "Hello?", request_id))
    await until(lambda: stream.done() or edge.supervisor.active_count > at_work)
    return stream


async def test_streams_beyond_the_limit_are_refused_until_one_ends(
    edge: Edge, account: Account, said: asyncio.Event
) -> None:
    streams = [await send(edge, account, f"r{number}") for number in range(AMOUNT)]
    refused = await (await send(edge, account, "late"))
    assert (refused.reason, refused.code) == ("TOO_MANY_STREAMS", grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert refused.trailing["grpc-retry-pushback-ms"] == "1000"
    assert refused.all_of(error_details_pb2.RetryInfo)
    (quota,) = refused.all_of(error_details_pb2.QuotaFailure)
    assert quota.violations[0].subject == str(AMOUNT)
    assert edge.supervisor.active_count == AMOUNT, "what is refused starts nothing"
    said.set()
    assert {(await soon(stream)).code for stream in streams} == {grpc.StatusCode.OK}
    assert (await soon(await send(edge, account, "late"))).code is grpc.StatusCode.OK
    await until(lambda: not held(edge))


async def test_a_stream_whose_client_goes_away_makes_room(edge: Edge, account: Account, said: asyncio.Event) -> None:
    for stream in [await send(edge, account, f"r{number}") for number in range(AMOUNT)]:
        stream.cancel()
    await until(lambda: not held(edge))
    said.set()
    assert (await soon(await send(edge, account, "next"))).code is grpc.StatusCode.OK


async def test_a_stream_that_is_refused_for_another_reason_holds_nothing(edge: Edge, account: Account) -> None:
    for number in range(2 * AMOUNT):
        refused = await edge.send(account.metadata, "conv_unknown", "Hello?", f"r{number}")
        assert refused.reason == "CONVERSATION_NOT_FOUND"
    await until(lambda: not held(edge))


async def test_another_caller_has_streams_of_its_own(edge: Edge, account: Account, said: asyncio.Event) -> None:
    streams = [await send(edge, account, f"r{number}") for number in range(AMOUNT)]
    stranger = await edge.sign_in("eve")
    streams.append(await send(edge, stranger, "r1"))
    said.set()
    assert {(await soon(stream)).code for stream in streams} == {grpc.StatusCode.OK}
