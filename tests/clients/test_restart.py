"""A server that stops, dies and comes back under a client that is reading."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatter_client import Resumption, Session, connect
from chatter_client.contract import error_reason_pb2
from tests.support.client_accounts import PASSWORD, QUESTION, new_conversation, new_login, stored_texts
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
    """Stopped, the run is finished or handed over; killed, it may fail, and the reader learns that: never silence."""
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
    if fold.end.WhichOneof("event") == "failed":
        assert fold.end.failed.reason == error_reason_pb2.ERROR_REASON_RUN_INTERRUPTED
