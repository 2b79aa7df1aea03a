"""Two callers, and the use-cases of conversations on the database under test."""

from collections.abc import AsyncIterator, Collection
from datetime import UTC, datetime, timedelta

import pytest

from chatter_grpc.adapters.models.catalogue import ConfiguredModels
from chatter_grpc.adapters.models.facts import ModelFacts
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.conversation_service import Conversations
from chatter_grpc.core.storage import Storage
from tests.support.desk import Desk, add_caller


@pytest.fixture
async def models() -> AsyncIterator[ConfiguredModels]:
    models = ConfiguredModels([], facts=ModelFacts({}))
    yield models
    await models.close()


@pytest.fixture
def desk(storage: Storage, models: ConfiguredModels) -> Desk:
    now = datetime(2026, 11, 22, 10, tzinfo=UTC)

    def tick() -> datetime:
        nonlocal now
        now += timedelta(seconds=1)
        return now

    cancelled: list[Collection[str]] = []
    return Desk(Conversations(storage=storage, models=models, cancel_runs=cancelled.append, clock=tick), cancelled)


@pytest.fixture
async def caller(storage: Storage) -> Caller:
    return await add_caller(storage, "ada")


@pytest.fixture
async def stranger(storage: Storage) -> Caller:
    return await add_caller(storage, "eve")
