"""What the tests of housekeeping have: a caller, and no work left over."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from chatter_grpc.core.callers import Caller
from chatter_grpc.core.storage import Storage
from tests.support.desk import add_caller


@pytest.fixture
async def caller(storage: Storage) -> Caller:
    return await add_caller(storage, "ada")


@pytest.fixture(autouse=True)
async def _no_task_is_left() -> AsyncIterator[None]:
    """Whatever a test stops has stopped, and all its work with it."""
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, f"these tasks are left: {left}"
