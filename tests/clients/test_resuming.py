"""Streams over connections that break, against a server process: every answer arrives whole, once."""

import asyncio

import pytest

from chatter_client import ChatterError, Client, GaveUp, Resumption, Session, connect
from chatter_client.aio import RunStream
from chatter_client.contract import chat_service_pb2, run_pb2
from tests.support.client_accounts import PASSWORD, QUESTION, new_conversation, stored_texts
from tests.support.served import Served
from tests.support.tcp_proxy import TcpProxy


async def reach(stream: RunStream, words: int) -> None:
    """Read until so many words are there."""
    while len(stream.fold.text.split()) < words:
        await anext(stream)


async def is_whole(client: Client, stream: RunStream) -> None:
    """Whether what was folded is what is stored."""
    stored = await stored_texts(client, stream.fold.conversation_id)
    assert stored
    assert {key: message.text for key, message in stream.fold.messages.items()} == stored


async def test_an_answer_arrives_as_it_is_stored(client: Client, conversation_id: str) -> None:
    stream = client.send(conversation_id, QUESTION)
    kinds = [event.WhichOneof("event") async for event in stream]
    assert (kinds[0], kinds[-1]) == ("run_started", "completed")
    assert stream.breaks == 0
    assert stream.fold.usage.output_tokens > 0
    await is_whole(client, stream)


async def test_a_stream_whose_connection_is_cut_goes_on(client: Client, conversation_id: str, proxy: TcpProxy) -> None:
    stream = client.send(conversation_id, QUESTION)
    for words in (3, 12, 20):
        await reach(stream, words)
        proxy.cut()
    await stream.read_to_end()
    assert stream.breaks >= 3
    await is_whole(client, stream)


@pytest.mark.parametrize("seed", range(3))
async def test_connections_that_break_anywhere_lose_and_repeat_nothing(
    client: Client, direct: Client, conversation_id: str, proxy: TcpProxy, seed: int
) -> None:
    # Long enough for one frame at least, too short for the answer; in between is the middle of a frame.
    proxy.life = (400, 2_500)
    proxy.chance.seed(seed)
    proxy.cut()
    streams = [client.send(conversation_id, QUESTION) for _ in range(2)]
    for stream in streams:
        await stream.read_to_end()
    assert sum(stream.breaks for stream in streams) > 2
    texts = {key: message.text for stream in streams for key, message in stream.fold.messages.items()}
    assert texts == await stored_texts(direct, conversation_id)
    assert len(texts) == 2


async def test_a_start_whose_answer_is_lost_is_repeated_and_starts_once(
    client: Client, direct: Client, conversation_id: str, proxy: TcpProxy
) -> None:
    stream = client.send(conversation_id, QUESTION)
    # The server hears the request, and its first frame does not arrive whole.
    proxy.life = (300, 300)
    proxy.cut()
    reading = asyncio.create_task(stream.read_to_end())
    async with asyncio.timeout(20):
        while stream.breaks < 2:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
    proxy.life = None
    await reading
    await is_whole(direct, stream)
    assert len(await stored_texts(direct, conversation_id)) == 1


async def test_a_server_that_does_not_come_back_is_given_up_and_gone_on_with_later(
    server: Served, login: str, proxy: TcpProxy
) -> None:
    session = Session(login=login, password=PASSWORD)
    resumption = Resumption(give_up_after=1.0, first_pause=0.05)
    async with connect(proxy.address, credentials=session, resumption=resumption) as client:
        stream = client.send(await new_conversation(client), QUESTION)
        await reach(stream, 4)
        proxy.refuse()
        with pytest.raises(GaveUp) as caught:
            await stream.read_to_end()
        place = caught.value.place
        assert place is not None
        assert (place.run_id, place.cursor) == (stream.run_id, stream.cursor)
        assert isinstance(caught.value.cause, ChatterError)
        proxy.mend()
        later = client.resume(place)
        await later.read_to_end()
        await is_whole(client, later)


async def test_a_start_that_was_given_up_is_repeated_later(login: str, proxy: TcpProxy) -> None:
    session = Session(login=login, password=PASSWORD)
    resumption = Resumption(give_up_after=0.5, first_pause=0.05)
    async with connect(proxy.address, credentials=session, resumption=resumption) as client:
        conversation_id = await new_conversation(client)
        proxy.refuse()
        with pytest.raises(GaveUp) as caught:
            await client.send(conversation_id, QUESTION).read_to_end()
        place = caught.value.place
        assert place is not None
        assert place.run_id == ""
        proxy.mend()
        later = client.resume(place)
        await later.read_to_end()
        await is_whole(client, later)


async def test_another_client_watches_the_same_run(client: Client, conversation_id: str) -> None:
    stream = client.send(conversation_id, QUESTION)
    await reach(stream, 4)
    watching = client.watch(stream.run_id)
    folds = await asyncio.gather(stream.read_to_end(), watching.read_to_end())
    assert folds[0].text == folds[1].text
    assert folds[0].messages.keys() == folds[1].messages.keys()


async def test_a_watch_from_a_cursor_gives_the_events_after_it(client: Client, conversation_id: str) -> None:
    stream = client.send(conversation_id, QUESTION)
    await reach(stream, 4)
    after, seq = stream.cursor, stream.fold.seq
    rest = [event async for event in client.watch(stream.run_id, after)]
    assert rest[0].first_seq == seq + 1
    assert rest[-1].WhichOneof("event") == "completed"
    await stream.aclose()


async def test_a_run_is_cancelled_and_its_stream_comes_to_its_end(client: Client, conversation_id: str) -> None:
    stream = client.send(conversation_id, QUESTION)
    await reach(stream, 4)
    run = await stream.cancel()
    assert run is not None
    assert run.state == run_pb2.RUN_STATE_CANCELLED
    fold = await stream.read_to_end()
    assert fold.end is not None
    assert fold.end.WhichOneof("event") == "cancelled"
    assert fold.usage.output_tokens > 0
    await is_whole(client, stream)


async def test_a_run_is_cancelled_before_it_is_known(client: Client, conversation_id: str) -> None:
    stream = client.send(conversation_id, QUESTION)
    assert await stream.cancel() is None
    fold = await stream.read_to_end()
    assert fold.end is not None
    assert fold.end.WhichOneof("event") == "cancelled"


async def test_cancelling_a_run_that_has_ended_says_so(client: Client, conversation_id: str) -> None:
    stream = client.send(conversation_id, QUESTION)
    await stream.read_to_end()
    with pytest.raises(ChatterError) as caught:
        await stream.cancel()
    assert caught.value.reason == "RUN_ALREADY_FINISHED"


async def test_a_stream_that_is_closed_leaves_the_run_alone(client: Client, conversation_id: str) -> None:
    async with client.send(conversation_id, QUESTION) as stream:
        await reach(stream, 2)
    assert [event async for event in stream] == []
    later = client.resume(stream.place)
    await later.read_to_end()
    await is_whole(client, later)


async def test_a_reader_that_is_cancelled_can_read_on(client: Client, conversation_id: str) -> None:
    stream = client.send(conversation_id, QUESTION)
    await reach(stream, 2)
    reading = asyncio.create_task(stream.read_to_end())
    await asyncio.sleep(0.05)
    reading.cancel()
    await asyncio.wait([reading])
    await stream.read_to_end()
    await is_whole(client, stream)


async def test_any_request_that_starts_a_run_is_read_alike(client: Client, conversation_id: str) -> None:
    first = client.send(conversation_id, QUESTION)
    await first.read_to_end()
    message_id = next(iter(first.fold.messages))
    request = chat_service_pb2.RegenerateMessageRequest(request_id="again", message_id=message_id)
    second = client.start(request)
    fold = await second.read_to_end()
    assert fold.end is not None
    assert fold.end.WhichOneof("event") == "completed"
    assert fold.messages.keys() != first.fold.messages.keys()


async def test_a_refusal_is_an_error_with_its_reason(client: Client) -> None:
    with pytest.raises(ChatterError) as caught:
        await client.send("conv_that_is_not", "Hello").read_to_end()
    assert caught.value.reason == "CONVERSATION_NOT_FOUND"
    assert caught.value.metadata == {"conversation_id": "conv_that_is_not"}
    assert caught.value.call_id
