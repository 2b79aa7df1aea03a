"""The tail of a run: numbers, barriers, memory, and what readers are shown."""

import time

from hypothesis import given
from hypothesis import strategies as st

from chatter_grpc.core.models import FinishReason, Role
from chatter_grpc.core.runs.events import (
    Batch,
    DeltaKind,
    Deltas,
    Entry,
    MessageFinished,
    MessageStarted,
    NodeFinished,
    NodeStarted,
    RunCompleted,
)
from chatter_grpc.core.runs.run import LogPosition
from chatter_grpc.core.runs.tail import EVENT_SIZE, Tail, fitting
from chatter_grpc.core.usage import Usage
from tests.support.run_logs import singles

BEGINNING = LogPosition()
STARTED = MessageStarted("m", Role.ASSISTANT, "scripted/a", "scripted")
FINISHED = MessageFinished("m", "hash", FinishReason.STOP, Usage(), 1)
ENDED = RunCompleted((), Usage())
ENOUGH = 1_000_000


def new_tail(kept: int = ENOUGH) -> Tail:
    return Tail("run", 1, (), 0, kept)


def say(tail: Tail, *pieces: str, message: str = "m", step: str = "1.1", kind: DeltaKind = DeltaKind.TEXT) -> None:
    for piece in pieces:
        tail.append_delta(step, kind, message, piece)


def commit(tail: Tail) -> Batch:
    batch = tail.take()
    assert batch is not None
    tail.mark_committed(batch, tail.size)
    return batch


def shown(tail: Tail, after: LogPosition = BEGINNING, max_size: int = ENOUGH) -> list[object]:
    entries = tail.read(after, max_size)
    assert entries is not None
    return [what if not isinstance(what, tuple) else what[2] for _, _, _, what in singles(entries)]


def test_events_are_numbered_without_a_gap_and_adjacent_deltas_share_an_entry() -> None:
    tail = new_tail()
    tail.append("1.1", STARTED)
    say(tail, "a", "b")
    entries = tail.read(BEGINNING, ENOUGH)
    assert entries is not None
    assert [(entry.first_seq, entry.seq) for entry in entries] == [(1, 1), (2, 3)]
    assert [seq for seq, *_ in singles(entries)] == [1, 2, 3]


def test_deltas_of_another_message_step_or_kind_begin_an_entry() -> None:
    tail = new_tail()
    say(tail, "a")
    say(tail, "b", message="other")
    say(tail, "c", message="other", step="1.2")
    say(tail, "d", message="other", step="1.2", kind=DeltaKind.REASONING)
    entries = tail.read(BEGINNING, ENOUGH)
    assert entries is not None
    assert [entry.first_seq for entry in entries] == [1, 2, 3, 4]


def test_a_delta_is_shown_at_once_and_a_barrier_when_it_is_committed() -> None:
    tail = new_tail()
    say(tail, "a")
    assert shown(tail) == ["a"]
    tail.append("1.1", FINISHED)
    assert shown(tail) == ["a"]
    commit(tail)
    assert shown(tail) == ["a", FINISHED]


def test_deltas_of_a_parallel_step_wait_behind_a_barrier() -> None:
    tail = new_tail()
    say(tail, "a")
    tail.append("1.1", FINISHED)
    say(tail, "b", message="other", step="1.2")
    assert shown(tail) == ["a"]
    batch = tail.take()
    assert batch is not None
    say(tail, "c", message="other", step="1.2")
    tail.append("1.2", NodeFinished("n"))
    assert shown(tail) == ["a"], "a batch that was taken is not yet committed"
    tail.mark_committed(batch, tail.size)
    assert shown(tail) == ["a", FINISHED, "b", "c"], "the second barrier still holds itself back, and no more"


def test_a_batch_that_was_taken_does_not_grow() -> None:
    tail = new_tail()
    say(tail, "a")
    batch = tail.take()
    say(tail, "b")
    assert batch is not None
    assert singles(batch.entries) == [(1, 1, "1.1", (DeltaKind.TEXT, "m", "a"))]
    again = tail.take()
    assert again is not None
    assert singles(again.entries) == [(2, 1, "1.1", (DeltaKind.TEXT, "m", "b"))]


def test_what_was_read_does_not_grow() -> None:
    tail = new_tail()
    say(tail, "a")
    entries = tail.read(BEGINNING, ENOUGH)
    say(tail, "b")
    assert entries is not None
    assert singles(entries) == [(1, 1, "1.1", (DeltaKind.TEXT, "m", "a"))]


def test_nothing_is_taken_where_nothing_is_new() -> None:
    tail = new_tail()
    assert tail.take() is None
    say(tail, "a")
    commit(tail)
    assert tail.take() is None


def test_reading_goes_on_in_the_middle_of_an_entry() -> None:
    tail = new_tail()
    say(tail, "a", "b", "c")
    assert shown(tail, LogPosition(1, 2)) == ["c"]
    assert shown(tail, LogPosition(1, 3)) == []
    assert shown(tail, LogPosition(1, 9)) == [], "a position ahead waits"


def test_a_read_is_cut_to_its_size_but_gives_one_delta_at_least() -> None:
    tail = new_tail()
    say(tail, "a" * 10, "b" * 10, "c" * 10)
    assert shown(tail, max_size=1) == ["a" * 10]
    assert shown(tail, max_size=2 * (10 + EVENT_SIZE)) == ["a" * 10, "b" * 10]


def test_a_delta_longer_than_a_read_comes_alone() -> None:
    tail = new_tail()
    say(tail, "a", "b" * 1000, "c")
    assert shown(tail, LogPosition(1, 1), max_size=100) == ["b" * 1000]


def test_a_position_of_another_attempt_is_left_to_the_database() -> None:
    tail = Tail("run", 2, (), 5)
    say(tail, "a")
    assert tail.read(LogPosition(1, 5), ENOUGH) is None
    assert tail.read(LogPosition(3, 5), ENOUGH) is None
    assert tail.read(LogPosition(2, 5), ENOUGH) is not None


def test_committed_deltas_that_go_on_are_kept_as_one_entry_and_batches_stay_as_they_were() -> None:
    tail = new_tail(kept=10_000)
    batches = []
    for letter in "abcdef":
        say(tail, letter)
        batch = tail.take()
        assert batch is not None
        tail.mark_committed(batch, tail.size)
        batches.append(batch)
    (entry,) = tail.read(BEGINNING, ENOUGH) or ()
    assert isinstance(entry.body, Deltas)
    assert list(entry.body.pieces) == list("abcdef")
    assert [list(each.body.pieces) for batch in batches for each in batch.entries] == [[letter] for letter in "abcdef"]  # type: ignore[union-attr]


def test_committed_events_beyond_what_is_kept_are_forgotten() -> None:
    tail = new_tail(kept=100)
    for letter in "abcdefgh":
        say(tail, letter * 10)
        commit(tail)
    assert tail.read(BEGINNING, ENOUGH) is None, "the beginning is no longer here"
    assert shown(tail, LogPosition(1, 6)) == ["g" * 10, "h" * 10]


def test_the_events_that_a_tail_begins_with_count_among_what_is_kept() -> None:
    first = (Entry(1, 1, "", 0, NodeStarted("a", "model")), Entry(2, 1, "", 0, NodeStarted("b", "model")))
    tail = Tail("run", 1, first, 2, kept=2 * EVENT_SIZE)
    assert shown(tail) == [entry.body for entry in first]
    tail.append("", NodeStarted("c", "model"))
    commit(tail)
    assert tail.read(BEGINNING, ENOUGH) is None
    assert shown(tail, LogPosition(1, 1)) == [NodeStarted("b", "model"), NodeStarted("c", "model")]


def test_what_is_not_committed_is_kept_whatever_its_size() -> None:
    tail = new_tail(kept=0)
    say(tail, "a" * 100)
    commit(tail)
    say(tail, "b" * 100, "c" * 100)
    assert shown(tail, LogPosition(1, 1)) == ["b" * 100, "c" * 100]
    assert tail.uncommitted_size == 2 * (100 + EVENT_SIZE)


def test_a_run_has_ended_when_its_last_event_is_committed() -> None:
    tail = new_tail()
    tail.append("", ENDED)
    assert (tail.closed, tail.ended, shown(tail)) == (True, False, [])
    commit(tail)
    assert tail.ended
    assert shown(tail) == [ENDED]


def test_nothing_is_added_behind_the_last_event() -> None:
    tail = new_tail()
    tail.append("", ENDED)
    say(tail, "too late")
    tail.append("1.1", STARTED)
    assert tail.last_seq == 1
    batch = tail.take()
    assert batch is not None
    assert [entry.body for entry in batch.entries] == [ENDED]


def test_a_lost_run_drops_what_is_left_and_takes_nothing_more() -> None:
    tail = new_tail()
    say(tail, "a")
    tail.append("1.1", FINISHED)
    tail.mark_lost()
    say(tail, "b")
    tail.append("", ENDED)
    assert tail.take() is None
    assert tail.read(BEGINNING, ENOUGH) is None, "readers go to the database"


def test_a_run_that_is_not_held_for_certain_any_more_is_lost_by_whoever_looks_first() -> None:
    tail = new_tail()
    told: list[str] = []
    tail.on_lost = lambda: told.append("lost")
    say(tail, "a")
    assert (shown(tail), tail.lapse()) == (["a"], False)
    tail.held_until = time.monotonic() + 3600
    assert (shown(tail), tail.lapse()) == (["a"], False)
    tail.held_until = time.monotonic()
    assert tail.read(BEGINNING, ENOUGH) is None
    assert (tail.lapse(), tail.lost, told) == (True, True, ["lost"])
    assert tail.take() is None


def test_a_run_that_has_ended_is_lost_to_nobody() -> None:
    tail = new_tail()
    tail.append("", ENDED)
    commit(tail)
    tail.held_until = time.monotonic()
    assert (tail.lapse(), shown(tail)) == (False, [ENDED])


def test_that_a_run_is_lost_is_told_once() -> None:
    tail = new_tail()
    told = []
    tail.on_lost = lambda: told.append("lost")
    tail.mark_lost()
    tail.mark_lost()
    assert told == ["lost"]


def test_watchers_hear_of_what_they_may_see_until_they_leave() -> None:
    tail = new_tail()
    heard: list[int] = []
    tail.watch("reader", lambda: heard.append(tail.visible_seq))
    say(tail, "a")
    tail.append("1.1", FINISHED)
    say(tail, "b", step="1.2")
    assert heard == [1], "behind a barrier there is nothing to see"
    commit(tail)
    assert heard == [1, 3]
    tail.mark_lost()
    assert len(heard) == 3
    tail.unwatch("reader")
    tail.unwatch("reader")
    say(tail, "c")
    assert len(heard) == 3


@given(
    st.lists(st.lists(st.text(max_size=20), min_size=1, max_size=6), max_size=8),
    st.integers(min_value=1, max_value=200),
)
def test_entries_cut_to_frames_are_the_entries(pieces: list[list[str]], max_size: int) -> None:
    entries: list[Entry] = []
    seq = 1
    for number, each in enumerate(pieces):
        entries.append(Entry(seq, 1, str(number), 0, Deltas(DeltaKind.TEXT, "m", each)))
        seq = entries[-1].seq + 1
    whole = singles(entries)
    found = []
    while entries:
        part = fitting(entries, max_size)
        found += singles(part)
        sizes = [len(piece) + EVENT_SIZE for _, _, _, (_, _, piece) in singles(part)]  # type: ignore[misc]
        assert sum(sizes[:-1]) < max_size, "only the last delta may reach over"
        last = part[-1].seq
        entries = [entry.after(last) for entry in entries if entry.seq > last]
    assert found == whole
