"""Access tokens whose time is over, on unary calls and in the middle of streams: they are renewed, once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from chatter_client import Client, FileStore, MemoryStore, Session, Tokens, Unauthenticated, connect
from chatter_client.aio.keepers import SessionKeeper
from chatter_client.contract import auth_service_pb2, user_service_pb2
from tests.support.client_accounts import (
    LONG_QUESTION,
    PASSWORD,
    QUESTION,
    CountingStore,
    aged,
    new_conversation,
    new_login,
    new_tokens,
    stored_texts,
)
from tests.support.served import Served
from tests.support.tcp_proxy import TcpProxy

WHO_AM_I = user_service_pb2.GetMeRequest()


@asynccontextmanager
async def holding(address: str, store: CountingStore) -> AsyncIterator[Client]:
    """A client that has nothing but these tokens."""
    async with connect(address, credentials=Session(store=store)) as client:
        yield client


async def test_an_expired_token_is_renewed_and_the_call_repeated(server: Served, anyone: Client) -> None:
    store = CountingStore(await aged(server, await new_tokens(anyone), seconds=-60))
    async with holding(server.address, store) as client:
        assert (await client.users.GetMe(WHO_AM_I)).user.username.startswith("reader-")
    assert store.saved == 1


async def test_calls_at_the_same_time_renew_a_token_once(server: Served, anyone: Client) -> None:
    store = CountingStore(await aged(server, await new_tokens(anyone), seconds=-60))
    async with holding(server.address, store) as client:
        answers = await asyncio.gather(*(client.users.GetMe(WHO_AM_I) for _ in range(12)))
    assert len({answer.user.id for answer in answers}) == 1
    assert store.saved == 1


async def test_a_token_is_renewed_before_its_time_is_over(server: Served, anyone: Client) -> None:
    tokens = await new_tokens(anyone)
    store = CountingStore(replace(tokens, access_token="not sent", access_expires_at=0.0))
    async with holding(server.address, store) as client:
        await client.users.GetMe(WHO_AM_I)
    assert store.saved == 1


async def expire(server: Served, client: Client, store: CountingStore) -> None:
    """Have the time of a client's access token pass, which the client does not see coming."""
    tokens = store.load()
    assert tokens is not None
    expired = await aged(server, tokens, seconds=-60)
    MemoryStore.save(store, expired)
    keeper = client._keeper
    assert isinstance(keeper, SessionKeeper)
    keeper._held.put(expired, fresh=True)


async def test_a_stream_outlives_its_token_and_a_cut_after_that(
    server: Served, anyone: Client, proxy: TcpProxy
) -> None:
    store = CountingStore(await new_tokens(anyone))
    async with holding(proxy.address, store) as client:
        stream = client.send(await new_conversation(client), QUESTION)
        await anext(stream)
        await expire(server, client, store)
        proxy.cut()
        await stream.read_to_end()
        assert stream.breaks >= 1
        assert store.saved == 1
        assert {key: message.text for key, message in stream.fold.messages.items()} == await stored_texts(
            client, stream.fold.conversation_id
        )


async def test_many_streams_that_break_renew_their_token_once(server: Served, anyone: Client, proxy: TcpProxy) -> None:
    store = CountingStore(await new_tokens(anyone))
    async with holding(proxy.address, store) as client:
        streams = [client.send(await new_conversation(client), LONG_QUESTION) for _ in range(6)]
        for stream in streams:
            await anext(stream)
        await expire(server, client, store)
        proxy.cut()
        await asyncio.gather(*(stream.read_to_end() for stream in streams))
        assert store.saved == 1
        for stream in streams:
            stored = await stored_texts(client, stream.fold.conversation_id)
            assert {key: message.text for key, message in stream.fold.messages.items()} == stored


async def test_a_session_that_was_ended_is_not_renewed(server: Served, anyone: Client) -> None:
    tokens = await new_tokens(anyone)
    async with holding(server.address, CountingStore(tokens)) as client:
        await client.auth.Logout(auth_service_pb2.LogoutRequest())
    store = CountingStore(await aged(server, tokens, seconds=-60))
    async with holding(server.address, store) as client:
        with pytest.raises(Unauthenticated) as caught:
            await client.users.GetMe(WHO_AM_I)
    assert caught.value.reason in {"SESSION_REVOKED", "TOKEN_EXPIRED"}
    assert store.load() is None


async def test_a_stream_of_a_session_that_was_ended_says_so(server: Served, anyone: Client, proxy: TcpProxy) -> None:
    tokens = await new_tokens(anyone)
    async with holding(proxy.address, CountingStore(tokens)) as client:
        stream = client.send(await new_conversation(client), QUESTION)
        await anext(stream)
        await client.auth.Logout(auth_service_pb2.LogoutRequest())
        with pytest.raises(Unauthenticated) as caught:
            await stream.read_to_end()
    assert caught.value.reason == "SESSION_REVOKED"
    assert caught.value.place is not None
    assert caught.value.place.run_id == stream.run_id


async def test_without_a_session_nothing_is_sent(server: Served) -> None:
    async with connect(server.address, credentials=Session()) as client:
        with pytest.raises(Unauthenticated) as caught:
            await client.users.GetMe(WHO_AM_I)
    assert caught.value.reason == "CREDENTIALS_MISSING"
    assert caught.value.call_id == ""


async def test_a_wrong_password_is_told(server: Served) -> None:
    async with connect(server.address, credentials=Session(login="nobody", password="nothing at all")) as client:
        with pytest.raises(Unauthenticated) as caught:
            await client.users.GetMe(WHO_AM_I)
    assert caught.value.reason == "LOGIN_FAILED"


async def test_processes_that_share_a_file_renew_its_session_in_turn(
    server: Served, anyone: Client, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("session") / "session.json"
    FileStore(path).save(await aged(server, await new_tokens(anyone), seconds=-60))
    saved: list[Tokens | None] = []

    class Shared(FileStore):
        def save(self, tokens: Tokens | None) -> None:
            saved.append(tokens)
            super().save(tokens)

    clients = [connect(server.address, credentials=Session(store=Shared(path))) for _ in range(4)]
    answers = await asyncio.gather(*(client.users.GetMe(WHO_AM_I) for client in clients))
    assert len({answer.user.id for answer in answers}) == 1
    # Whoever comes later takes what is in the file.
    assert len(saved) == 1
    last = FileStore(path).load()
    assert last is not None
    for client in clients:
        await client.users.GetMe(WHO_AM_I)
        await client.close()
    assert FileStore(path).load() == last


async def test_logging_in_and_out_keeps_and_forgets_the_tokens(server: Served, anyone: Client) -> None:
    store = CountingStore()
    async with holding(server.address, store) as client:
        await client.log_in(await new_login(anyone), PASSWORD)
        assert store.load() is not None
        await client.users.GetMe(WHO_AM_I)
        await client.log_out()
        assert store.load() is None
        with pytest.raises(Unauthenticated):
            await client.users.GetMe(WHO_AM_I)
