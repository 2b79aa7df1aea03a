"""An attempt does its work or is interrupted, at whatever moment, and always says how it came out."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from chatter_grpc.core.conversations import ModelSettings
from chatter_grpc.core.errors import ProviderTimeout
from chatter_grpc.core.runs.attempt import Attempt
from chatter_grpc.core.runs.ending import Outcome
from chatter_grpc.core.runs.executor import Work
from chatter_grpc.core.runs.run import RunState
from chatter_grpc.core.runs.writer import RunWriter
from tests.support.attempts import new_work, new_writer

HOUR = 3600.0
CANCELLED = Outcome(state=RunState.CANCELLED)


class Does:
    """An executor made from a function; ``calls`` counts how often it was asked."""

    def __init__(self, act: Callable[[], Awaitable[object]]) -> None:
        self._act = act
        self.calls = 0

    async def execute(self, work: Work, writer: RunWriter) -> None:
        self.calls += 1
        await self._act()


def new_attempt(patience: float = HOUR) -> Attempt:
    written = new_writer()
    return Attempt(new_work(ModelSettings()), written.tail, written.writer, patience)


async def forever() -> None:
    await asyncio.Event().wait()


async def nothing() -> None:
    return


def failing(error: BaseException) -> Callable[[], Awaitable[object]]:
    async def fail() -> None:
        raise error

    return fail


async def test_work_that_comes_to_its_end_completes() -> None:
    assert await new_attempt().execute(Does(nothing), HOUR) == Outcome(state=RunState.COMPLETED)


async def test_a_typed_failure_is_how_it_came_out() -> None:
    error = ProviderTimeout(provider="a", phase="idle")
    assert await new_attempt().execute(Does(failing(error)), HOUR) == Outcome(state=RunState.FAILED, failure=error)


@pytest.mark.parametrize("error", [ValueError("planted"), TimeoutError(), asyncio.CancelledError()])
async def test_a_fault_of_ours_is_internal_whatever_it_is(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    outcome = await new_attempt().execute(Does(failing(error)), HOUR)
    assert outcome.failure is not None
    assert (outcome.state, outcome.failure.reason) == (RunState.FAILED, "INTERNAL")
    assert [record.message for record in caplog.records] == ["run_fault"]


async def test_an_interruption_cancels_the_work_once_and_decides() -> None:
    attempt, cleaned = new_attempt(), []

    async def work() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0)
            cleaned.append("up")

    task = asyncio.create_task(attempt.execute(Does(work), HOUR))
    await asyncio.sleep(0)
    attempt.interrupt(CANCELLED)
    attempt.interrupt(Outcome(state=RunState.FAILED, failure=ProviderTimeout(provider="a", phase="idle")))
    assert await task == CANCELLED
    assert cleaned == ["up"]


async def test_an_interruption_before_the_first_step_lets_nothing_begin() -> None:
    attempt, does = new_attempt(), Does(nothing)
    task = asyncio.create_task(attempt.execute(does, HOUR))
    attempt.interrupt(CANCELLED)
    assert await task == CANCELLED
    assert does.calls == 0


@pytest.mark.parametrize("error", [ValueError("planted"), ProviderTimeout(provider="a", phase="idle"), None])
async def test_work_that_ends_otherwise_after_its_interruption_is_interrupted_all_the_same(
    error: Exception | None,
) -> None:
    attempt = new_attempt()

    async def work() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            if error is not None:
                raise error from None

    task = asyncio.create_task(attempt.execute(Does(work), HOUR))
    await asyncio.sleep(0)
    attempt.interrupt(CANCELLED)
    assert await task == CANCELLED


async def test_an_interruption_after_the_end_comes_too_late() -> None:
    attempt = new_attempt()
    outcome = await attempt.execute(Does(nothing), HOUR)
    attempt.interrupt(CANCELLED)
    await asyncio.sleep(0)
    assert outcome == Outcome(state=RunState.COMPLETED)


async def test_the_time_limit_is_an_interruption_like_others() -> None:
    outcome = await new_attempt().execute(Does(forever), 0.001)
    assert outcome.failure is not None
    assert (outcome.state, outcome.failure.reason) == (RunState.FAILED, "RUN_TIMEOUT")
    assert outcome.failure.metadata == {"limit_seconds": "0.001"}


async def test_work_that_does_not_end_when_cancelled_is_cancelled_again() -> None:
    attempt = new_attempt(patience=0.001)
    cancels: list[str] = []

    async def work() -> None:
        while len(cancels) < 3:
            try:
                await forever()
            except asyncio.CancelledError:
                cancels.append("cancelled")

    task = asyncio.create_task(attempt.execute(Does(work), HOUR))
    await asyncio.sleep(0)
    attempt.interrupt(CANCELLED)
    async with asyncio.timeout(60):
        assert await task == CANCELLED
    assert len(cancels) == 3


@pytest.mark.parametrize("interrupted", [False, True])
async def test_a_cancellation_by_others_goes_on_upwards(interrupted: bool) -> None:
    attempt = new_attempt()
    task = asyncio.create_task(attempt.execute(Does(forever), HOUR))
    await asyncio.sleep(0)
    if interrupted:
        attempt.interrupt(CANCELLED)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_attempt_that_was_interrupted_leaves_its_task_fit_for_further_waits() -> None:
    attempt = new_attempt()

    async def all_of_it() -> int:
        await attempt.execute(Does(forever), HOUR)
        async with asyncio.timeout(HOUR):
            await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    task = asyncio.create_task(all_of_it())
    await asyncio.sleep(0)
    attempt.interrupt(CANCELLED)
    assert await task == 0
