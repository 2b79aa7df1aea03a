"""Replicas on the database under test."""

from collections.abc import AsyncIterator

import pytest

from chatter_grpc.adapters.tokens.passwords import Argon2Hasher
from chatter_grpc.core.storage import Storage
from tests.support.identity import HandClock, Replica, Site


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def site(storage: Storage, clock: HandClock) -> AsyncIterator[Site]:
    hasher = Argon2Hasher()
    yield Site(storage, clock, hasher)
    await hasher.close()


@pytest.fixture
async def replica(site: Site) -> Replica:
    return await site.start()
