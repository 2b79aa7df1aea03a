"""A Redis that a test may do anything to."""

from collections.abc import Iterator

import pytest

from tests.support.redis_server import OwnRedis, redis_server


@pytest.fixture
def own_redis() -> Iterator[OwnRedis]:
    with redis_server() as redis:
        yield redis
