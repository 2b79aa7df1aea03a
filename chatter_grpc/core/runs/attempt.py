"""One attempt at a run in this process: it does the work, unless it is interrupted first."""

import asyncio
import logging
import time
from typing import Any, Final

from chatter_grpc.core.errors import ChatterError, Internal, RunTimeout
from chatter_grpc.core.runs.ending import HAND_OVER, Outcome
from chatter_grpc.core.runs.executor import Executor, Work
from chatter_grpc.core.runs.run import RunState
from chatter_grpc.core.runs.tail import Tail
from chatter_grpc.core.runs.writer import RunWriter

# How long an executor may take to clean up before it is cancelled once more.
PATIENCE_SECONDS: Final = 5.0

_log = logging.getLogger(__name__)


class Attempt:
    """The work of an attempt with its tail and writer; ``ended`` is set when nothing more will come of it.

    Made in the event loop.
    """

    def __init__(self, work: Work, tail: Tail, writer: RunWriter, patience: float = PATIENCE_SECONDS) -> None:
        self.work = work
        self.tail = tail
        self.writer = writer
        self.ended = asyncio.Event()
        self._patience = patience
        self._interruption: Outcome | None = None
        self._working: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._lease: asyncio.TimerHandle | None = None
        self._cancels = 0
        self.over = False

    def hold(self, until: float) -> None:
        """Note that the run is this attempt's until then, by the monotonic clock; later it is lost, unless held again.

        A process that was stopped for longer finds that out as the first thing it does.
        """
        self.tail.held_until = until
        if self._lease is None:
            self._watch_lease()

    def _watch_lease(self) -> None:
        if not self.tail.lapse():
            left = self.tail.held_until - time.monotonic()
            self._lease = asyncio.get_running_loop().call_later(max(left, 0.001), self._watch_lease)

    def close(self) -> None:
        """Note that nothing more will come of it."""
        if self._lease is not None:
            self._lease.cancel()
        # The tail must not hold what holds it: the turns of an ended run would wait for the garbage collector.
        self.tail.on_lost = None
        self.ended.set()

    def interrupt(self, outcome: Outcome) -> None:
        """Have the attempt end with ``outcome``. The first interruption counts, and none once the work is over."""
        if self.over or self._interruption is not None:
            return
        self._interruption = outcome
        self.writer.leaving = outcome is HAND_OVER
        if self._working is not None:
            self._cancel(self._working)

    async def execute(self, executor: Executor, time_limit: float) -> Outcome:
        """Do the work and return how it came out; an interruption goes before all else.

        ``time_limit`` is in seconds and holds for all attempts together. Where it is over, nothing more may begin; what
        was finished before may still come to its end. Raises ``asyncio.CancelledError`` where the calling task was
        cancelled by others.
        """
        late = Outcome(state=RunState.FAILED, failure=RunTimeout(limit_seconds=time_limit))
        left = time_limit - self.work.elapsed
        if left <= 0:
            self.writer.refusal = self.writer.refusal or late.failure
            left = self._patience
        self._timer = asyncio.get_running_loop().call_later(left, self.interrupt, late)
        try:
            # A task that is cancelled before its first step never takes it, so that one is not cancelled but asked.
            outcome = self._interruption or await self._work(executor)
        finally:
            self.over = True
            self._working = None
            self._timer.cancel()
        return self._interruption or outcome

    async def _work(self, executor: Executor) -> Outcome:
        task = self._working = asyncio.current_task()
        assert task is not None
        try:
            await executor.execute(self.work, self.writer)
        except asyncio.CancelledError:
            if task.cancelling() > self._cancels:
                raise
            if self._interruption is None:
                _log.exception("run_fault", extra={"run_id": self.work.run.id})
            failure: ChatterError = Internal()
        except ChatterError as error:
            # Its frames, this one among them, would hold it and the whole attempt until the garbage collector comes.
            failure = error.with_traceback(None)
            failure.__context__ = failure.__cause__ = None
        except Exception:  # noqa: BLE001
            _log.exception("run_fault", extra={"run_id": self.work.run.id})
            failure = Internal()
        else:
            return Outcome(state=RunState.COMPLETED)
        finally:
            for _ in range(self._cancels):
                task.uncancel()
        return Outcome(state=RunState.FAILED, failure=failure)

    def _cancel(self, task: asyncio.Task[Any]) -> None:
        """Cancel the executor, and again if it does not end: at once would cut off how it cleans up."""
        self._cancels += 1
        task.cancel()
        assert self._timer is not None
        self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._patience, self._cancel, task)
