"""Every interleaving of writing, committing, trimming and reading shows readers the log, and nothing but the log."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chatter_grpc.core.models import FinishReason
from chatter_grpc.core.runs.events import (
    BARRIERS,
    AttemptStarted,
    Batch,
    DeltaKind,
    Entry,
    MessageFinished,
    NodeFinished,
    NodeStarted,
    RunCompleted,
    RunStarted,
)
from chatter_grpc.core.runs.run import LogPosition
from chatter_grpc.core.runs.tail import EVENT_SIZE, Tail
from chatter_grpc.core.usage import Usage
from tests.support.run_logs import Single, singles

KEPT = 200
LONGEST = 60
STEPS = st.sampled_from(["1.1", "1.2"])
MESSAGES = st.sampled_from(["m1", "m2"])
KINDS = st.sampled_from(list(DeltaKind))
PLAIN_EVENTS = st.sampled_from([NodeStarted("n", "model"), AttemptStarted()])
BARRIER_EVENTS = st.sampled_from([NodeFinished("n"), MessageFinished("m1", "", FinishReason.STOP, Usage(), 1)])
SIZES = st.integers(min_value=1, max_value=300)
READERS = st.integers(min_value=0, max_value=2)


class TailMachine(RuleBasedStateMachine):
    """One writer, one committer with one batch in flight at most, and three readers, as in a server."""

    @initialize()
    def begin(self) -> None:
        first = (Entry(1, 1, "", 0, RunStarted("run", "conv", "msg")), Entry(2, 1, "", 0, AttemptStarted()))
        self.tail = Tail("run", 1, first, 2, KEPT)
        self.log: list[Single] = singles(first)
        self.database: list[Single] = singles(first)
        self.in_flight: tuple[Batch, int] | None = None
        self.seen: list[list[Single]] = [[], [], []]
        self.woken: list[int] = []
        self.tail.watch("test", lambda: self.woken.append(self.tail.visible_seq))

    def note(self, step: str, what: Any) -> None:
        if not self.tail.closed:
            self.log.append((len(self.log) + 1, 1, step, what))

    @rule(step=STEPS, kind=KINDS, message=MESSAGES, text=st.text(max_size=LONGEST))
    def delta(self, step: str, kind: DeltaKind, message: str, text: str) -> None:
        self.note(step, (kind, message, text))
        self.tail.append_delta(step, kind, message, text)

    @rule(step=STEPS, body=PLAIN_EVENTS | BARRIER_EVENTS)
    def event(self, step: str, body: Any) -> None:
        self.note(step, body)
        self.tail.append(step, body)

    @rule()
    @precondition(lambda self: len(self.log) > 30)
    def end(self) -> None:
        self.note("", RunCompleted((), Usage()))
        self.tail.append("", RunCompleted((), Usage()))

    @rule()
    @precondition(lambda self: self.in_flight is None)
    def take(self) -> None:
        batch = self.tail.take()
        if batch is None:
            assert len(self.database) == len(self.log)
        else:
            assert singles(batch.entries) == self.log[len(self.database) :], "a batch holds all that none before held"
            self.in_flight = (batch, self.tail.size)

    @rule()
    @precondition(lambda self: self.in_flight is not None)
    def commit(self) -> None:
        assert self.in_flight is not None
        batch, size = self.in_flight
        self.in_flight = None
        self.database += singles(batch.entries)
        self.woken.clear()
        shown = self.tail.visible_seq
        self.tail.mark_committed(batch, size)
        now = self.tail.visible_seq
        assert self.woken == ([now] if now > shown else []), "readers are woken where there is more to see"

    @rule(reader=READERS, size=SIZES)
    def read(self, reader: int, size: int) -> None:
        seen = self.seen[reader]
        position = LogPosition(1, len(seen)) if seen else LogPosition()
        entries = self.tail.read(position, size)
        if entries is None:
            # As a reader does: what is not in memory is in the database.
            assert len(seen) < len(self.database)
            self.seen[reader] = self.database[: len(seen) + 1]
            return
        assert bool(entries) == (len(seen) < self.tail.visible_seq)
        seen += singles(entries)

    @rule(seq=st.integers(min_value=0, max_value=60), size=SIZES)
    def read_anywhere(self, seq: int, size: int) -> None:
        entries = self.tail.read(LogPosition(1, seq), size)
        if entries is not None:
            found = singles(entries)
            assert found == self.log[seq : seq + len(found)]

    @invariant()
    def readers_see_the_log_and_no_more_than_they_may(self) -> None:
        for seen in self.seen:
            assert seen == self.log[: len(seen)]
            for what in self.log[len(self.database) : len(seen)]:
                assert not isinstance(what[3], BARRIERS), "a barrier was shown before it was committed"

    @invariant()
    def memory_is_bounded(self) -> None:
        kept = [what for what in singles((*self.tail._committed, *self.tail._entries)) if what[0] <= len(self.database)]
        sizes = [EVENT_SIZE + (len(what[3][2]) if isinstance(what[3], tuple) else 0) for what in kept]
        assert sum(sizes) <= KEPT or len(self.tail._committed) + len(self.tail._entries) == 1, "one entry is never cut"
        uncommitted = self.log[len(self.database) :]
        size = sum(EVENT_SIZE + (len(what[3][2]) if isinstance(what[3], tuple) else 0) for what in uncommitted)
        assert self.tail.uncommitted_size == size


TestTailMachine = TailMachine.TestCase
TestTailMachine.settings = settings(stateful_step_count=60, deadline=None)
