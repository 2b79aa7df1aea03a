"""The synchronous client against a server process, over connections that break."""

import threading
from collections.abc import Iterator

import pytest

from chatter_client import ChatterError, GaveUp, Resumption, Session, SyncClient, SyncRunStream, connect_sync
from chatter_client.contract import chat_service_pb2, run_pb2
from tests.support.client_accounts import PASSWORD, QUESTION, CountingStore, registration
from tests.support.served import Served
from tests.support.tcp_proxy import TcpProxy


@pytest.fixture
def sync_client(server: Served, proxy: TcpProxy) -> Iterator[SyncClient]:
    account = registration()
    with connect_sync(server.address) as anyone:
        anyone.auth.Register(account)
    session = Session(login=account.username, password=PASSWORD, store=CountingStore())
    resumption = Resumption(give_up_after=30, first_pause=0.02, longest_pause=0.5)
    with connect_sync(proxy.address, credentials=session, resumption=resumption) as client:
        yield client


def new_conversation(client: SyncClient) -> str:
    return client.chat.CreateConversation(chat_service_pb2.CreateConversationRequest()).conversation.id


def is_whole(client: SyncClient, stream: SyncRunStream) -> None:
    request = chat_service_pb2.ListMessagesRequest(conversation_id=stream.fold.conversation_id)
    stored = {
        message.id: message.parts[0].text.text
        for message in client.chat.ListMessages(request).messages
        if message.model
    }
    assert stored
    assert {key: message.text for key, message in stream.fold.messages.items()} == stored


def reach(stream: SyncRunStream, words: int) -> None:
    while len(stream.fold.text.split()) < words:
        next(stream)


def test_a_stream_whose_connection_is_cut_goes_on(sync_client: SyncClient, proxy: TcpProxy) -> None:
    stream = sync_client.send(new_conversation(sync_client), QUESTION)
    for words in (3, 12, 20):
        reach(stream, words)
        proxy.cut()
    stream.read_to_end()
    assert stream.breaks >= 3
    is_whole(sync_client, stream)


def test_threads_share_a_client(sync_client: SyncClient, proxy: TcpProxy) -> None:
    streams = [sync_client.send(new_conversation(sync_client), QUESTION) for _ in range(4)]
    threads = [threading.Thread(target=stream.read_to_end) for stream in streams]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for stream in streams:
        is_whole(sync_client, stream)


def test_a_run_is_given_a_budget(sync_client: SyncClient) -> None:
    place = new_conversation(sync_client)
    with pytest.raises(ChatterError) as caught:
        sync_client.send(place, QUESTION, budget=run_pb2.Budget(max_tokens=1)).read_to_end()
    assert caught.value.reason == "BUDGET_EXCEEDED"
    needed = int(caught.value.metadata["needed"])
    stream = sync_client.send(place, QUESTION, budget=run_pb2.Budget(max_tokens=needed + 2))
    assert len(stream.read_to_end().text.split()) == 3
    is_whole(sync_client, stream)


def test_a_run_is_cancelled_from_another_thread(sync_client: SyncClient) -> None:
    stream = sync_client.send(new_conversation(sync_client), QUESTION)
    reach(stream, 3)
    cancelled: list[run_pb2.Run | None] = []
    thread = threading.Thread(target=lambda: cancelled.append(stream.cancel()))
    thread.start()
    fold = stream.read_to_end()
    thread.join(30)
    assert fold.end is not None
    assert fold.end.WhichOneof("event") == "cancelled"
    assert cancelled[0] is not None
    is_whole(sync_client, stream)


def test_a_stream_is_closed_from_another_thread(sync_client: SyncClient) -> None:
    stream = sync_client.send(new_conversation(sync_client), QUESTION)
    reach(stream, 3)
    thread = threading.Timer(0.05, stream.close)
    thread.start()
    stream.read_to_end()
    thread.join()
    assert stream.fold.end is None
    later = sync_client.resume(stream.place)
    later.read_to_end()
    is_whole(sync_client, later)


def test_a_server_that_does_not_come_back_is_given_up_and_gone_on_with_later(
    server: Served, sync_client: SyncClient, proxy: TcpProxy
) -> None:
    account = registration()
    with connect_sync(server.address) as anyone:
        anyone.auth.Register(account)
    session = Session(login=account.username, password=PASSWORD)
    with connect_sync(proxy.address, credentials=session, resumption=Resumption(give_up_after=1.0)) as client:
        stream = client.send(new_conversation(client), QUESTION)
        reach(stream, 4)
        proxy.refuse()
        with pytest.raises(GaveUp) as caught:
            stream.read_to_end()
        assert caught.value.place is not None
        proxy.mend()
        later = client.resume(caught.value.place)
        later.read_to_end()
        is_whole(client, later)
