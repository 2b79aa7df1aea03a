"""A server that stops or dies: history is kept, and its runs are gone on with by the next one (T10, T11)."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from chatter_grpc._gen.chatter.v1 import run_pb2
from chatter_grpc._gen.chatter.v1.conversation_pb2 import MEMORY_MODE_OFF
from tests.support.fold import ClientFold
from tests.support.provider import Provider, eventually
from tests.support.served import Client, served, signed_in, written

MINDFUL, FORGETFUL = "mindful", "forgetful"


def contents(provider: Provider) -> list[str]:
    """The texts that the provider was sent last."""
    return [message["content"] for message in provider.calls[-1].body["messages"]]


async def is_whole(client: Client, provider: Provider, places: dict[str, str], *texts: str) -> None:
    """Whether both conversations hold these exchanges, and the model is given them where it is to remember them."""
    exchanges = [each for text in texts for each in (text, f"You said: {text}")]
    for place in places.values():
        found = [message.parts[0].text.text for message in await client.messages(place)]
        assert found == exchanges
    last = f"after {len(texts)}"
    await client.ask(places[MINDFUL], last)
    assert contents(provider) == [*exchanges, last]
    await client.ask(places[FORGETFUL], last)
    assert contents(provider) == [last]


@pytest.mark.platform("T10", "T11")
async def test_a_history_outlives_its_server(
    tmp_path: Path, provider: Provider, provider_settings: dict[str, str]
) -> None:
    """T11: stopped and killed; the model sees what came before, and does not where memory is off. T10: see below."""
    settings = {**provider_settings, "data_dir": str(tmp_path / "data")}
    with served(tmp_path / "first", **settings) as server:
        async with server.connect() as anyone:
            ada = await signed_in(anyone)
            places = {
                MINDFUL: (await ada.client.conversation(title=MINDFUL)).id,
                FORGETFUL: (await ada.client.conversation(title=FORGETFUL, memory={"mode": MEMORY_MODE_OFF})).id,
            }
            for place in places.values():
                await ada.client.ask(place, "one")
        assert server.process.stop() == 0
    with served(tmp_path / "second", **settings) as server:
        async with server.connect() as anyone:
            # The session outlives the server too.
            client = anyone.trusting(ada.tokens.access_token)
            await is_whole(client, provider, places, "one")
            run_id = await be_killed_in_mid_run(client, provider, server.process.process)
    with served(tmp_path / "third", **settings) as server:
        async with server.connect() as anyone:
            client = anyone.trusting(ada.tokens.access_token)
            # Nobody else uses this database, so that no lease is waited for.
            await is_gone_on_with(client, run_id)
            await is_whole(client, provider, places, "one", "after 1")


@pytest.mark.platform("T10")
async def test_a_run_on_a_shared_database_outlives_its_server(
    tmp_path: Path, provider: Provider, provider_settings: dict[str, str], postgres_url: str
) -> None:
    """T10: the run of a server that was killed is gone on with by another one, once its lease is over."""
    settings = {**provider_settings, "database_url": postgres_url, "lease_seconds": "3", "reaper_seconds": "0.2"}
    with served(tmp_path / "first", **settings) as server:
        async with server.connect() as anyone:
            ada = await signed_in(anyone)
            run_id = await be_killed_in_mid_run(ada.client, provider, server.process.process)
    with served(tmp_path / "second", **settings) as server:
        async with server.connect() as anyone:
            await is_gone_on_with(anyone.trusting(ada.tokens.access_token), run_id)


@pytest.mark.platform("T10")
async def test_a_server_that_stops_gives_its_runs_to_another_one(
    tmp_path: Path, provider: Provider, provider_settings: dict[str, str], postgres_url: str
) -> None:
    """T10: by the wake-up, and not by a lease or a look: both take longer than the test."""
    settings = {**provider_settings, "database_url": postgres_url, "lease_seconds": "600", "reaper_seconds": "600"}
    with served(tmp_path / "stays", **settings) as stays:
        async with stays.connect() as anyone:
            ada = await signed_in(anyone)
            with served(tmp_path / "stops", **settings, stop_seconds="0.2") as stops:
                async with stops.connect() as there:
                    client = there.trusting(ada.tokens.access_token)
                    held = provider.hold(after=2, text="never to be finished")
                    stream = await client.send((await client.conversation()).id, "Hello").until(written(2))
                    assert await asyncio.to_thread(stops.process.stop) == 0
                    assert (await stream.to_end()).code is grpc.StatusCode.OK
            held.open()
            fold = await is_gone_on_with(ada.client, stream.run_id)
            assert fold.attempt == 2
            # What the reader was handed is a place in the log that any server knows.
            rest = ada.client.open("WatchRun", run_id=stream.run_id, cursor=stream.frames[-1].cursor)
            assert (await rest.to_end()).code is grpc.StatusCode.OK
            assert rest.events[0].first_seq == stream.events[-1].seq + 1
            assert rest.events[-1].WhichOneof("event") == "completed"


async def be_killed_in_mid_run(client: Client, provider: Provider, process: Any) -> str:
    """Kill the server while it streams an answer of which some is in the database, and return the run's id."""
    provider.hold(after=2, text="never to be finished")
    stream = await client.send((await client.conversation()).id, "Hello").until(written(2))

    async def is_committed() -> bool:
        return bool((await client.run(stream.run_id)).last_seq == stream.events[-1].seq)

    await eventually(is_committed)
    process.kill()
    assert (await stream.to_end()).code is grpc.StatusCode.UNAVAILABLE
    return stream.run_id


async def is_gone_on_with(client: Client, run_id: str) -> ClientFold:
    """Whether a run is completed by a second attempt, and its conversation is free."""
    watched = client.open("WatchRun", run_id=run_id)
    assert (await watched.to_end()).code is grpc.StatusCode.OK
    assert (watched.fold.end, list(watched.fold.stored.values())) == ("completed", ["You said: Hello"])
    run = await client.run(run_id)
    assert (run.state, run.attempt) == (run_pb2.RUN_STATE_COMPLETED, 2)
    assert len(await client.messages(run.conversation_id)) == 2
    again = await client.ask(run.conversation_id, "Once more")
    assert (again.fold.end, again.text) == ("completed", "You said: Once more")
    return watched.fold
