"""Servers that the tests of the platform share, one on each database, with one provider behind them."""

import json
from collections.abc import AsyncIterator, Iterator

import pytest

from chatter_grpc.adapters.models.scripted import ScriptedChat, answer_script
from chatter_grpc.adapters.tokens.passwords import Argon2Hasher
from chatter_grpc.core.runs.run import LogCommitter
from chatter_grpc.core.storage import Storage
from tests.support.databases import PostgresDatabases
from tests.support.edge import ANSWER, EdgeOptions, serve_edge
from tests.support.identity import HandClock, Site
from tests.support.logs import captured_log
from tests.support.provider import Provider, provider_on_a_thread
from tests.support.served import Account, Client, Served, served, signed_in

KEY = "sk-of-the-stand-in"
# What the tokens of `openai/priced` cost, in micro-dollars each.
INPUT_PRICE, OUTPUT_PRICE = 2, 10


@pytest.fixture(scope="session")
def running_provider() -> Iterator[Provider]:
    with provider_on_a_thread(KEY) as provider:
        yield provider


@pytest.fixture
def provider(running_provider: Provider) -> Iterator[Provider]:
    """The provider of all servers, which remembers nothing of the test before."""
    running_provider.clear()
    yield running_provider
    assert not running_provider.standin.refused


@pytest.fixture(scope="session")
def provider_settings(running_provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The settings of a server that asks the provider, patiently."""
    models = tmp_path_factory.mktemp("models") / "models.json"
    entry = {"input_micros": INPUT_PRICE * 10**6, "output_micros": OUTPUT_PRICE * 10**6, "noted": "2026-11-22"}
    able = {"takes_images": True, "structured_output": True}
    models.write_text(json.dumps({"openai/priced": entry | able}))
    return {
        "openai_base_url": running_provider.base_url,
        "openai_api_key": KEY,
        "openai_models": '["priced", "other"]',
        "models_file": str(models),
        "provider_idle_seconds": "60",
    }


@pytest.fixture(scope="session")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory, provider_settings: dict[str, str]) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("on-sqlite"), **provider_settings) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres_databases: PostgresDatabases) -> Iterator[str]:
    """A database that all servers of these tests share."""
    with postgres_databases.fresh() as url:
        yield url


@pytest.fixture(scope="session")
def on_postgres(
    tmp_path_factory: pytest.TempPathFactory, provider_settings: dict[str, str], postgres_url: str
) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("on-postgres"), database_url=postgres_url, **provider_settings) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def server(request: pytest.FixtureRequest) -> Served:
    """A server on each kind of database, one after the other."""
    server: Served = request.getfixturevalue(f"on_{request.param}")
    return server


@pytest.fixture
async def anyone(server: Served) -> AsyncIterator[Client]:
    """A client without credentials."""
    async with server.connect() as client:
        yield client


@pytest.fixture
async def ada(anyone: Client) -> Account:
    return await signed_in(anyone)


@pytest.fixture
async def in_loop(storage: Storage, committer: LogCommitter) -> AsyncIterator[Client]:
    """A client of a server within the test's own loop, where what it does can be watched."""
    hasher = Argon2Hasher()
    replica = await Site(storage, HandClock(), hasher).start()
    with captured_log():
        async with serve_edge(replica, committer, EdgeOptions(model=ScriptedChat(answer_script(ANSWER)))) as edge:
            yield Client(channel=edge.channel)
    await hasher.close()
