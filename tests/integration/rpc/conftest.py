"""A server for each test."""

from collections.abc import AsyncIterator, Iterator

import pytest

from chatter_grpc.adapters.models.scripted import ScriptedChat, answer_script
from chatter_grpc.adapters.tokens.passwords import Argon2Hasher
from chatter_grpc.core.runs.run import LogCommitter
from chatter_grpc.core.storage import Storage
from tests.support.edge import ANSWER, Account, Edge, EdgeOptions, serve_edge
from tests.support.identity import HandClock, Replica, Site
from tests.support.logs import Log, captured_log


@pytest.fixture
async def replica(storage: Storage) -> AsyncIterator[Replica]:
    hasher = Argon2Hasher()
    yield await Site(storage, HandClock(), hasher).start()
    await hasher.close()


@pytest.fixture
def log() -> Iterator[Log]:
    """What the server logs, at level debug."""
    with captured_log() as log:
        yield log


@pytest.fixture
def options() -> EdgeOptions:
    return EdgeOptions(model=ScriptedChat(answer_script(ANSWER)))


@pytest.fixture
async def edge(log: Log, replica: Replica, committer: LogCommitter, options: EdgeOptions) -> AsyncIterator[Edge]:
    async with serve_edge(replica, committer, options) as edge:
        yield edge


@pytest.fixture
async def account(edge: Edge) -> Account:
    return await edge.sign_in()


@pytest.fixture
async def root(edge: Edge) -> Account:
    """An administrator, who may call every method."""
    return await edge.sign_in_administrator()


@pytest.fixture
async def conversation_id(edge: Edge, account: Account) -> str:
    """A conversation of the account's."""
    return (await edge.new_conversation(account.metadata)).id
