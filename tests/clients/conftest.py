"""A server of the clients' own, and ways to it that break."""

from collections.abc import AsyncIterator, Iterator

import pytest

from chatter_client import Client, Resumption, Session, connect
from tests.support.client_accounts import PASSWORD, new_conversation, new_login
from tests.support.served import Served, served
from tests.support.tcp_proxy import TcpProxy

# Slow enough to be cut off several times within an answer.
TOKEN_MILLISECONDS = "15"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("clients"), offline_token_milliseconds=TOKEN_MILLISECONDS) as server:
        yield server


@pytest.fixture
def proxy(server: Served) -> Iterator[TcpProxy]:
    with TcpProxy(server.address).running() as proxy:
        yield proxy


@pytest.fixture
async def anyone(server: Served) -> AsyncIterator[Client]:
    """A client without credentials, that goes to the server directly."""
    async with connect(server.address) as client:
        yield client


@pytest.fixture
async def login(anyone: Client) -> str:
    """The name of an account."""
    return await new_login(anyone)


@pytest.fixture
async def client(proxy: TcpProxy, login: str) -> AsyncIterator[Client]:
    """A client that goes through the proxy, with an account."""
    session = Session(login=login, password=PASSWORD)
    resumption = Resumption(give_up_after=30, first_pause=0.02, longest_pause=0.5)
    async with connect(proxy.address, credentials=session, resumption=resumption) as client:
        yield client


@pytest.fixture
async def direct(server: Served, login: str) -> AsyncIterator[Client]:
    """A client of the same account that nothing stands in the way of."""
    async with connect(server.address, credentials=Session(login=login, password=PASSWORD)) as client:
        yield client


@pytest.fixture
async def conversation_id(client: Client) -> str:
    return await new_conversation(client)
