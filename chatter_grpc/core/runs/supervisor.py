"""The supervisor: owns the runs that are at work in this process, from their start to their end."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from chatter_grpc.core.clock import Clock
from chatter_grpc.core.errors import ChatterError, ServerStopping, StorageUnavailable
from chatter_grpc.core.observation import UNOBSERVED, Observer
from chatter_grpc.core.runs.attempt import Attempt
from chatter_grpc.core.runs.committer import GroupCommitter
from chatter_grpc.core.runs.ending import HAND_OVER, Outcome, end_run, release_run
from chatter_grpc.core.runs.events import Batch
from chatter_grpc.core.runs.executor import Executor, Work
from chatter_grpc.core.runs.purse import Purse
from chatter_grpc.core.runs.run import RunState, WorkflowKind
from chatter_grpc.core.runs.tail import Tail
from chatter_grpc.core.runs.wakeups import CANCELLED_RUNS, RELEASED_RUNS, WakeUps
from chatter_grpc.core.runs.writer import MAX_MESSAGE_BYTES, RunWriter
from chatter_grpc.core.storage import Storage

# How long a task may take to end once it is cancelled.
ABANDON_SECONDS: Final = 1.0
# The share of a lease after which a run counts as lost here, counted from before the lease was written.
HELD: Final = 2 / 3

_log = logging.getLogger(__name__)
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """Bounds and times of runs, in seconds.

    ``time_limit`` is how long one may take, ``lease`` how long its lease holds, ``renew`` how often that is renewed,
    ``cancel_poll`` how often to look for cancel intents that other processes wrote. A run whose lease could not be
    renewed for two thirds of its time is lost, before another process may take it. ``max_message_bytes`` is how long
    one message may become, ``hand_over`` how long a process that stops takes to give back what has not ended.
    """

    time_limit: float = 300.0
    lease: float = 30.0
    renew: float = 10.0
    cancel_poll: float = 1.0
    max_message_bytes: int = MAX_MESSAGE_BYTES
    hand_over: float = 10.0


class Supervisor:
    """Runs attempts as tasks of its own, ends them in the database, and cancels them.

    ``process_id`` names this process in leases; it is new at every start.
    """

    def __init__(
        self,
        process_id: str,
        storage: Storage,
        executor: Executor,
        committer: GroupCommitter,
        wakeups: WakeUps,
        settings: RunSettings,
        clock: Clock,
        observer: Observer = UNOBSERVED,
    ) -> None:
        self.process_id = process_id
        self.settings = settings
        self._storage = storage
        self._executor = executor
        self._committer = committer
        self._wakeups = wakeups
        self._clock = clock
        self._observer = observer
        self._active: dict[str, Attempt] = {}
        self._owned: set[asyncio.Task[Any]] = set()
        self._stopping = False
        self._grace_over = False

    @property
    def active_count(self) -> int:
        """How many runs are at work here."""
        return len(self._active)

    @property
    def stopping(self) -> bool:
        """Whether nothing new may start."""
        return self._stopping

    def check_open(self) -> None:
        """Raise ``ServerStopping`` where nothing new may start."""
        if self._stopping:
            raise ServerStopping

    def tail(self, run_id: str) -> Tail | None:
        """Return the live tail of a run that is at work here."""
        attempt = self._active.get(run_id)
        return attempt.tail if attempt is not None else None

    def start(
        self,
        work: Work,
        first: Batch,
        on_ended: Callable[[], None] = lambda: None,
        *,
        leased_at: float | None = None,
        refusal: ChatterError | None = None,
    ) -> None:
        """Begin an attempt whose row, lease and first events are committed; ``on_ended`` is called at its end.

        ``leased_at`` is a moment before its lease was written, by the monotonic clock; now where it is not given.
        ``refusal`` is why no more of the work may begin, if it may not: what was done before is brought to its end.
        """
        run = work.run
        self.lose(run.id, run.attempt)
        if run.id in self._active and self._active[run.id].tail.attempt > run.attempt:
            # It took so long to come here that the run has been taken from it.
            on_ended()
            return
        tail = Tail(run.id, run.attempt, first.entries, first.last_seq)
        purse = None
        if run.budget.limits_usage:
            purse = Purse(self._storage, run, patience=self._committer.settings.patience)
        longest = self.settings.max_message_bytes
        writer = RunWriter(tail, self._committer, self._observer, longest, work.before, purse)
        writer.refusal = refusal
        attempt = Attempt(work, tail, writer)
        # Whoever lost a run stops at once: what it would write is not wanted, what it would read is paid for.
        tail.on_lost = partial(attempt.interrupt, HAND_OVER)
        attempt.hold((time.monotonic() if leased_at is None else leased_at) + self.settings.lease * HELD)
        self._active[run.id] = attempt
        self._have_make_way(attempt)
        _ = self.own(self._see_through(attempt, on_ended), f"run {run.id}")

    def lose(self, run_id: str, taken: int) -> None:
        """Note that the attempt ``taken`` took a run from the one that was at work on it here, if one was."""
        attempt = self._active.get(run_id)
        if attempt is not None and attempt.tail.attempt < taken:
            attempt.tail.mark_lost()

    def own(self, work: Coroutine[Any, Any, Result], name: str) -> asyncio.Task[Result]:
        """Do a piece of work to its end, whoever waits for it or goes away; ``stop`` waits for it."""
        task = asyncio.create_task(work, name=name)
        self._owned.add(task)
        task.add_done_callback(self._owned.discard)
        return task

    def cancel_here(self, run_ids: Collection[str]) -> None:
        """Cancel those of the runs that are at work here, and wake who is at work on the others and who reads any.

        The database knows already.
        """
        self._interrupt(run_ids)
        self._wakeups.notify((*run_ids, CANCELLED_RUNS))

    async def wait_ended(self, run_id: str, seconds: float) -> None:
        """Wait until a run that is at work here has ended in the database, at most so long."""
        attempt = self._active.get(run_id)
        if attempt is not None:
            try:
                async with asyncio.timeout(seconds):
                    await attempt.ended.wait()
            except TimeoutError:
                _log.warning("run_slow_to_end", extra={"run_id": run_id})

    def _interrupt(self, run_ids: Collection[str]) -> None:
        for run_id in run_ids:
            attempt = self._active.get(run_id)
            if attempt is not None:
                attempt.interrupt(Outcome(state=RunState.CANCELLED))

    async def run(self) -> None:
        """Renew leases and look for cancel intents from elsewhere until cancelled."""
        news = asyncio.Event()
        unsubscribe = self._wakeups.subscribe(CANCELLED_RUNS, news.set)
        try:
            await self._look_after_runs(news)
        finally:
            unsubscribe()

    async def _look_after_runs(self, news: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        renew_at = loop.time() + self.settings.renew
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(loop.time() + self.settings.cancel_poll, renew_at)):
                    await news.wait()
            news.clear()
            due = loop.time() >= renew_at
            if due:
                renew_at = loop.time() + self.settings.renew
            if not self._active:
                continue
            try:
                if due:
                    await self.renew()
                async with self._storage.read() as tx:
                    wanted = await tx.runs.cancel_requested(self.process_id)
            except StorageUnavailable:
                _log.warning("run_housekeeping_failed", extra={"runs": len(self._active)})
            except Exception:  # noqa: BLE001
                # To end the server for it would be worse: what cannot be renewed ends by itself.
                _log.exception("run_housekeeping_fault", extra={"runs": len(self._active)})
            else:
                self._interrupt(wanted)
                continue
            if due:
                # A lease outlasts one renewal that fails, and not two.
                renew_at = loop.time() + min(self.settings.cancel_poll, self.settings.renew)

    async def stop(self, grace: float) -> None:
        """Take nothing new, let runs end by themselves for ``grace`` seconds, and give the rest back.

        The server's own are given back at once: they would take as long as they may, and nobody waits for them.
        """
        self._stopping = True
        for attempt in tuple(self._active.values()):
            self._have_make_way(attempt)
        await self._wait_idle(grace)
        self._grace_over = True
        for attempt in tuple(self._active.values()):
            self._have_make_way(attempt)
        await self._wait_idle(self.settings.hand_over)
        left = tuple(self._owned)
        if left:
            _log.error("stopped_with_work_left", extra={"tasks": sorted(task.get_name() for task in left)})
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=ABANDON_SECONDS)

    def _have_make_way(self, attempt: Attempt) -> None:
        """Give a run back where this process is to be waited for no longer on its account."""
        if self._grace_over or (self._stopping and attempt.work.run.kind is WorkflowKind.HOUSEKEEPING):
            attempt.interrupt(HAND_OVER)

    async def _wait_idle(self, seconds: float) -> None:
        """Wait until no work is left, that which comes up meanwhile included, at most so long."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + seconds
        while self._owned and (left := give_up_at - loop.time()) > 0:
            await asyncio.wait(tuple(self._owned), timeout=left)

    async def renew(self) -> None:
        """Renew the leases of the runs at work here; raises ``StorageUnavailable``."""
        # None but those at work: a run that was lost here must reach the reaper.
        attempts = {run_id: attempt for run_id, attempt in self._active.items() if not attempt.tail.lapse()}
        if not attempts:
            return
        held = {run_id: attempt.tail.attempt for run_id, attempt in attempts.items()}
        async with self._storage.write(urgent=True) as tx:
            # After the wait for others that write, and before the lease is written.
            until = time.monotonic() + self.settings.lease * HELD
            renewed = await tx.runs.renew_leases(self.process_id, held, self.settings.lease)
        for run_id, attempt in attempts.items():
            if run_id in renewed:
                attempt.hold(until)
            elif not attempt.over:
                attempt.tail.mark_lost()

    async def _see_through(self, attempt: Attempt, on_ended: Callable[[], None]) -> None:
        """Do the work of one attempt and end its run, or give it back."""
        run, tail = attempt.work.run, attempt.tail
        released = False
        try:
            with self._observer.run(run) as observed:
                outcome = await attempt.execute(self._executor, run.budget.seconds_within(self.settings.time_limit))
                if outcome.state.active:
                    released = await self._release(attempt)
                else:
                    await self._end(attempt, outcome)
                if tail.ended:
                    reason = outcome.failure.reason if outcome.failure else ""
                    observed.ended(outcome.state.value, reason, attempt.writer.usage)
        except Exception:  # noqa: BLE001
            _log.exception("run_end_fault", extra={"run_id": run.id})
        finally:
            if not tail.ended:
                # Another attempt ends what was not ended here, and readers hear of it from the database.
                tail.mark_lost()
                log = _log.info if released else _log.warning
                log("run_released" if released else "run_lost", extra={"run_id": run.id, "attempt": run.attempt})
                self._observer.run_left(released=released)
            if self._active.get(run.id) is attempt:
                del self._active[run.id]
            attempt.close()
            on_ended()

    async def _release(self, attempt: Attempt) -> bool:
        """Write what is left and give the run back; return whether it was this attempt's to give."""
        run, tail = attempt.work.run, attempt.tail
        last = await self._committer.withdraw(tail)
        if tail.lapse():
            return False
        size = tail.size
        last_seq = tail.last_seq if last is None else last.first_seq - 1
        patience = self._committer.settings.patience
        try:
            released = await release_run(self._storage, run, last, last_seq, patience=patience)
        except StorageUnavailable:
            return False
        if released:
            if last is not None:
                tail.mark_committed(last, size)
            self._wakeups.notify((run.id, RELEASED_RUNS))
        return released

    async def _end(self, attempt: Attempt, outcome: Outcome) -> None:
        run, tail, writer = attempt.work.run, attempt.tail, attempt.writer
        tail.append("", outcome.last_event(writer.stored(), writer.usage))
        last = await self._committer.withdraw(tail)
        if last is None:
            return
        size = tail.size
        try:
            ended = await end_run(
                self._storage,
                run,
                outcome,
                last,
                writer.messages,
                writer.usage,
                self._clock(),
                checkpointed=writer.checkpointed,
                patience=self._committer.settings.patience,
            )
        except StorageUnavailable:
            return
        if ended:
            tail.mark_committed(last, size)
            self._wakeups.notify((run.id,))
            _log.info("run_ended", extra={"run_id": run.id, "state": outcome.state.value, "events": tail.last_seq})
