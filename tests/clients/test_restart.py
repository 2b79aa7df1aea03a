"""A server that stops, dies and comes back under a client that is reading."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatter_client import Interruption, Resumption, Session, connect
from tests.support.client_accounts import LONG_QUESTION, PASSWORD, QUESTION, new_conversation, new_login, stored_texts
from tests.support.databases import PostgresDatabases
from tests.support.served import served
from tests.support.tcp_proxy import TcpProxy

SLOW = {"offline_token_milliseconds": "40"}


@pytest.fixture
def way(tmp_path: Path) -> Iterator[TcpProxy]:
    """A port that stays the same while servers come and go behind it."""
    with TcpProxy("127.0.0.1:1").running() as proxy:
        yield proxy


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
async def test_a_stream_goes_on_with_the_server_that_comes_after(
    tmp_path: Path, way: TcpProxy, how: signal.Signals
) -> None:
    """Stopped or killed, the run is gone on with by the next server, and the reader comes to its end: never silence."""
    settings = {**SLOW, "stop_seconds": "0.5"}
    resumption = Resumption(give_up_after=60, longest_pause=0.5)
    with served(tmp_path, **settings) as first:
        way.mend(first.address)
        async with connect(way.address) as anyone:
            login = await new_login(anyone)
        client = connect(way.address, credentials=Session(login=login, password=PASSWORD), resumption=resumption)
        stream = client.send(await new_conversation(client), QUESTION)
        while len(stream.fold.text.split()) < 5:
            await anext(stream)
        first.process.stop(how)
        way.refuse()
    with served(tmp_path, **settings) as second:
        way.mend(second.address)
        fold = await stream.read_to_end()
        assert fold.end is not None
        await client.close()
        async with connect(second.address, credentials=Session(login=login, password=PASSWORD)) as direct:
            stored = await stored_texts(direct, fold.conversation_id)
    if how is signal.SIGKILL:
        assert stream.breaks >= 1
    assert {key: message.text for key, message in fold.messages.items()} == stored
    assert fold.end.WhichOneof("event") == "completed"


async def test_a_server_that_stops_hands_its_readers_to_another_one(
    tmp_path: Path, way: TcpProxy, postgres_databases: PostgresDatabases
) -> None:
    """The run is at work on one server, and read at the other one, which stops: no error, no pause, no gap."""
    breaks: list[Interruption] = []
    with postgres_databases.fresh() as url, served(tmp_path / "stays", database_url=url) as stays:
        async with connect(stays.address) as anyone:
            session = Session(login=await new_login(anyone), password=PASSWORD)
        async with (
            connect(stays.address, credentials=session) as starter,
            connect(way.address, credentials=session, listener=breaks.append) as reader,
        ):
            with served(tmp_path / "stops", database_url=url) as stops:
                way.mend(stops.address)
                begun = starter.send(await new_conversation(starter), LONG_QUESTION)
                await anext(begun)
                stream = reader.watch(begun.run_id)
                await anext(stream)
                way.target = stays.address
                await asyncio.gather(asyncio.to_thread(stops.process.stop), stream.read_to_end())
            fold = await begun.read_to_end()
            assert stream.fold.text == fold.text
            assert {key: message.text for key, message in stream.fold.messages.items()} == await stored_texts(
                starter, fold.conversation_id
            )
    assert breaks[0].cause is None
    assert breaks[0].pause == 0.0
