"""Clients and streams that are closed while others read, or used afterwards: an end or an error, and never a crash."""

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from chatter_client import (
    ApiKey,
    ChatterError,
    Client,
    ClientClosed,
    FileStore,
    Session,
    SyncClient,
    SyncRunStream,
    connect,
    connect_sync,
)
from chatter_client.aio import RunStream, keepers
from chatter_client.contract import chat_service_pb2
from chatter_client.sync import keepers as sync_keepers
from tests.support.client_accounts import LONG_QUESTION, PASSWORD
from tests.support.served import Served

NEW = chat_service_pb2.CreateConversationRequest()


def in_another_thread(read: Callable[[], object]) -> tuple[threading.Thread, list[BaseException]]:
    """Read, and keep what it raises."""
    raised: list[BaseException] = []

    def reading() -> None:
        try:
            read()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is looked at
            raised.append(error)

    thread = threading.Thread(target=reading)
    thread.start()
    return thread, raised


async def begun(client: Client, conversation_id: str) -> tuple[RunStream, "asyncio.Task[object]"]:
    """A stream that has given something to the task that reads it."""
    stream = client.send(conversation_id, LONG_QUESTION)
    await anext(stream)
    task: asyncio.Task[object] = asyncio.create_task(stream.read_to_end())
    await asyncio.sleep(0)
    return stream, task


async def test_a_reader_is_told_that_its_client_was_closed(server: Served, login: str, conversation_id: str) -> None:
    client = connect(server.address, credentials=Session(login=login, password=PASSWORD))
    stream, reading = await begun(client, conversation_id)
    await client.close()
    with pytest.raises(ClientClosed) as told:
        await reading
    assert told.value.place is not None
    assert (told.value.place.run_id, told.value.place.cursor) == (stream.run_id, stream.cursor)


async def test_a_stream_that_is_closed_by_another_task_is_over(client: Client, conversation_id: str) -> None:
    stream, reading = await begun(client, conversation_id)
    await stream.aclose()
    assert await reading is stream.fold
    assert stream.fold.end is None


async def test_a_task_that_is_cancelled_stays_cancelled(client: Client, conversation_id: str) -> None:
    stream, reading = await begun(client, conversation_id)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    # The stream is not over for that.
    assert (await stream.read_to_end()).end is not None


async def test_a_client_that_is_closed_makes_no_calls(server: Served, login: str, conversation_id: str) -> None:
    client = connect(server.address, credentials=Session(login=login, password=PASSWORD))
    await client.chat.CreateConversation(NEW)
    await client.close()
    with pytest.raises(ClientClosed):
        await client.chat.CreateConversation(NEW)
    with pytest.raises(ClientClosed):
        await client.send(conversation_id, "hi").read_to_end()


def sync_client(server: Served, login: str) -> tuple[SyncClient, str]:
    client = connect_sync(server.address, credentials=Session(login=login, password=PASSWORD))
    return client, client.chat.CreateConversation(NEW).conversation.id


def stream_of(client: SyncClient, conversation_id: str) -> SyncRunStream:
    stream = client.send(conversation_id, LONG_QUESTION)
    next(stream)
    return stream


async def test_a_reader_on_another_thread_is_told_that_its_client_was_closed(server: Served, login: str) -> None:
    client, conversation_id = await asyncio.to_thread(sync_client, server, login)
    stream = await asyncio.to_thread(stream_of, client, conversation_id)
    thread, raised = in_another_thread(stream.read_to_end)
    await asyncio.to_thread(client.close)
    await asyncio.to_thread(thread.join)
    (error,) = raised
    assert isinstance(error, ClientClosed)
    assert error.place is not None
    assert error.place.run_id == stream.run_id


async def test_a_client_for_threads_that_is_closed_makes_no_calls(server: Served, login: str) -> None:
    client, conversation_id = await asyncio.to_thread(sync_client, server, login)
    client.close()
    with pytest.raises(ClientClosed):
        client.chat.CreateConversation(NEW)
    with pytest.raises(ClientClosed):
        client.send(conversation_id, "hi").read_to_end()


def call_for_ever(client: SyncClient) -> None:
    while True:
        client.chat.CreateConversation(NEW)


async def test_threads_that_call_while_their_client_is_closed_are_told(server: Served, login: str) -> None:
    for _ in range(5):
        client, _ = await asyncio.to_thread(sync_client, server, login)
        started = [in_another_thread(partial(call_for_ever, client)) for _ in range(4)]
        await asyncio.sleep(0.02)
        await asyncio.to_thread(client.close)
        for thread, raised in started:
            await asyncio.to_thread(thread.join)
            assert [type(error) for error in raised] == [ClientClosed]


async def test_tokens_that_another_process_does_not_give_back_are_told(
    server: Served, login: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (keepers, sync_keepers):
        monkeypatch.setattr(module, "LOCK_SECONDS", 0.05)
    assert FileStore(tmp_path / "session").try_lock()
    session = Session(login=login, password=PASSWORD, store=FileStore(tmp_path / "session"))
    async with connect(server.address, credentials=session) as client:
        with pytest.raises(ChatterError, match="another process"):
            await client.chat.CreateConversation(NEW)
    with (
        connect_sync(server.address, credentials=session) as threaded,
        pytest.raises(ChatterError, match="another process"),
    ):
        threaded.chat.CreateConversation(NEW)


@pytest.mark.parametrize(("key", "subject"), [("key\n", ""), ("ключ", ""), ("key", "b\x00b")])
def test_what_no_call_can_carry_is_refused_at_once(key: str, subject: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        ApiKey(key=key, subject=subject)
