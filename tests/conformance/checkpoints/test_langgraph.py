"""LangGraph's own suite for savers, on every database."""

from collections.abc import AsyncGenerator

import pytest
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.capabilities import Capability

from chatter_grpc.adapters.langgraph.saver import RunCheckpoints
from chatter_grpc.adapters.sql.storage import SqlStorage
from chatter_grpc.core.runs.saving import Result, Use
from chatter_grpc.core.runs.writer import StepWriter

KEPT = (Capability.PUT, Capability.PUT_WRITES, Capability.GET_TUPLE, Capability.LIST, Capability.DELETE_THREAD)
# A run's checkpoints are deleted with the run, whose id is the thread's; nothing copies or prunes threads.
NOT_OFFERED = (Capability.DELETE_FOR_RUNS, Capability.COPY_THREAD, Capability.PRUNE)


class FreeCheckpoints:
    """``Checkpoints`` of no attempt, which have no steps and no fence."""

    def __init__(self, storage: SqlStorage) -> None:
        self._storage = storage

    async def read(self, load: Use[Result]) -> Result:
        """See ``Checkpoints``."""
        async with self._storage.read() as tx:
            return await load(tx.checkpoints)

    async def write(self, save: Use[None], step: StepWriter | None = None) -> None:
        """See ``Checkpoints``."""
        assert step is None
        async with self._storage.write() as tx:
            await save(tx.checkpoints)


@pytest.mark.parametrize("capability", KEPT)
async def test_a_saver_does_what_langgraph_asks_of_savers(storage: SqlStorage, capability: Capability) -> None:
    @checkpointer_test(name="runs")
    async def savers() -> AsyncGenerator[RunCheckpoints]:
        yield RunCheckpoints(FreeCheckpoints(storage))

    report = await validate(savers, capabilities={capability.value})
    result = report.results[capability.value]
    assert result.failures == []
    assert result.tests_passed


async def test_what_the_saver_does_not_offer_the_suite_does_not_find(storage: SqlStorage) -> None:
    @checkpointer_test(name="runs")
    async def savers() -> AsyncGenerator[RunCheckpoints]:
        yield RunCheckpoints(FreeCheckpoints(storage))

    report = await validate(savers, capabilities={capability.value for capability in NOT_OFFERED})
    assert not any(report.results[capability.value].detected for capability in NOT_OFFERED)
