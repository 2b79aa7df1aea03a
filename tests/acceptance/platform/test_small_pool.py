"""Many streams share few connections to the database, slow readers and silent providers included (T14)."""

import asyncio
from collections.abc import Iterator
from typing import Final

import pytest

from chatter_grpc._gen.chatter.v1 import run_pb2
from tests.support.provider import Provider, until
from tests.support.served import Client, Served, Stream, served, signed_in

STREAMS: Final = 50
# Of these so many are not read until all the others are over, and their answers do not fit into the 64 KiB that HTTP/2
# lets a server send to a client that does not read.
UNREAD: Final = 10
LONG: Final = 190_000
POOL: Final = 2


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, provider_settings: dict[str, str], postgres_url: str
) -> Iterator[Served]:
    settings = {**provider_settings, "database_pool_size": str(POOL), "database_url": postgres_url}
    with served(tmp_path_factory.mktemp("pool"), **settings) as server:
        yield server


@pytest.mark.platform("T14")
async def test_fifty_streams_on_two_connections(anyone: Client, provider: Provider) -> None:
    """T14: no connection is held while a model is silent or a client does not read: everything else goes on."""
    client = (await signed_in(anyone)).client
    gates = [provider.hold(after=1) for _ in range(STREAMS)]
    texts = ["x" * LONG if number < UNREAD else f"Number {number}" for number in range(STREAMS)]
    places = [(await client.conversation()).id for _ in texts]
    streams = [client.send(place, text) for place, text in zip(places, texts, strict=True)]
    await asyncio.gather(*(stream.until(has_begun) for stream in streams[UNREAD:]))
    # All fifty wait for a model that says nothing more; two connections are enough for everybody else.
    await until(lambda: len([call for call in provider.calls if call.sent]) == STREAMS)
    others = [client.ok("ListMessages", conversation_id=place) for place in places]
    assert [len(found.messages) for found in await asyncio.gather(*others)] == [1] * STREAMS
    for gate in gates:
        gate.open()
    # Those that are read come to their end while the others are not read.
    await asyncio.gather(*(stream.to_end() for stream in streams[UNREAD:]))
    # Nobody waits for a reader: the runs of the others are over too.
    states = [await ended(client, place) for place in places]
    assert states == [run_pb2.RUN_STATE_COMPLETED] * STREAMS
    await asyncio.gather(*(stream.to_end() for stream in streams[:UNREAD]))
    for stream, text in zip(streams, texts, strict=True):
        assert (stream.fold.end, list(stream.fold.stored.values())) == ("completed", [f"You said: {text}"])


def has_begun(stream: Stream) -> bool:
    """Whether the first words of an answer have come."""
    return bool(stream.text)


async def ended(client: Client, conversation_id: str) -> int:
    """Return the state of a conversation's run once that has ended."""
    while True:
        (run,) = (await client.ok("ListRuns", conversation_id=conversation_id)).runs
        if run.state != run_pb2.RUN_STATE_RUNNING:
            return int(run.state)
        await asyncio.sleep(0.02)
