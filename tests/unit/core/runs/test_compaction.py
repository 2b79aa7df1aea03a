"""What a log is compacted to: less of the same kind, that amounts to the same."""

from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatter_grpc.core.messages import sha256_of
from chatter_grpc.core.models import FinishReason, Role
from chatter_grpc.core.runs import compaction
from chatter_grpc.core.runs.compaction import LogUnfinished, compact
from chatter_grpc.core.runs.events import (
    AttemptStarted,
    Body,
    DeltaKind,
    Deltas,
    Entry,
    MessageDiscarded,
    MessageFinished,
    MessageStarted,
    NodeFinished,
    NodeStarted,
    RunCancelled,
    RunCompleted,
    RunStarted,
    StoredMessage,
    UsageReported,
)
from chatter_grpc.core.runs.fold import Fold
from chatter_grpc.core.usage import Usage
from tests.support.following import amounts, folded, folded_snapshot
from tests.support.random_logs import LOGS

ONE = Usage(input_tokens=5, output_tokens=1, cost_micros=1)
STARTED = ("", RunStarted("run", "conv", "msg"))
ATTEMPT = ("", AttemptStarted())


def log(*events: tuple[str, Body]) -> list[Entry]:
    found: list[Entry] = []
    seq, attempt = 1, 0
    for step, body in events:
        attempt += isinstance(body, AttemptStarted)
        found.append(Entry(seq, max(attempt, 1), step, seq, body))
        seq = found[-1].seq + 1
    return found


def begun(step: str, message_id: str) -> tuple[str, Body]:
    return step, MessageStarted(message_id, Role.ASSISTANT, "a/b", "a")


def said(step: str, message_id: str, *pieces: str, kind: DeltaKind = DeltaKind.TEXT) -> tuple[str, Body]:
    return step, Deltas(kind, message_id, pieces)


def done(step: str, message_id: str, text: str) -> tuple[str, Body]:
    return step, MessageFinished(message_id, sha256_of(text), FinishReason.STOP, ONE, 1)


def used(step: str, message_id: str) -> tuple[str, Body]:
    return step, UsageReported(message_id, "a/b", ONE)


def ended(*stored: tuple[str, str]) -> tuple[str, Body]:
    return "", RunCompleted(tuple(StoredMessage(key, sha256_of(text)) for key, text in stored), ONE)


def bodies(entries: tuple[Entry, ...]) -> list[tuple[int, str, Body]]:
    return [(entry.attempt, entry.step_id, entry.body) for entry in entries]


def fold_of(entries: tuple[Entry, ...]) -> tuple[object, ...]:
    fold = Fold()
    fold.take(entries)
    messages = [
        (key, message.step_id, message.started, message.text, message.finished)
        for key, message in fold.messages.items()
    ]
    return messages, fold.usage, fold.end


@settings(deadline=None)
@given(LOGS, st.sampled_from([1, 3, compaction.PIECE_SIZE]))
def test_a_compacted_log_folds_to_what_the_log_folds_to(entries: tuple[Entry, ...], size: int) -> None:
    with patch.object(compaction, "PIECE_SIZE", size):
        compacted = compact(entries)
    assert fold_of(compacted) == fold_of(entries)
    assert amounts(folded_snapshot(compacted)) == amounts(folded(entries))


@settings(deadline=None)
@given(LOGS, st.sampled_from([1, 3, compaction.PIECE_SIZE]))
def test_a_compacted_log_is_numbered_by_itself_and_no_longer_than_the_log(
    entries: tuple[Entry, ...], size: int
) -> None:
    with patch.object(compaction, "PIECE_SIZE", size):
        *snapshot, last = compact(entries)
        assert compact((*snapshot, last)) == (*snapshot, last), "it cannot be made smaller"
    assert last == entries[-1]
    number = 0
    for entry in snapshot:
        assert entry.first_seq == number + 1
        number = entry.seq
    assert number < last.seq
    attempts = [entry.attempt for entry in (*snapshot, last)]
    assert attempts == sorted(attempts)


@given(LOGS)
def test_no_usage_is_lost_and_nothing_that_is_void_remains(entries: tuple[Entry, ...]) -> None:
    compacted = compact(entries)

    def usages(found: tuple[Entry, ...]) -> list[UsageReported]:
        return [entry.body for entry in found if isinstance(entry.body, UsageReported)]

    assert usages(compacted) == usages(entries)
    fold = Fold()
    fold.take(entries)
    named = [entry.body.message_id for entry in compacted if isinstance(entry.body, MessageStarted | MessageFinished)]
    assert set(named) == set(fold.messages)
    assert not [entry for entry in compacted if isinstance(entry.body, MessageDiscarded)]
    assert {entry.body.kind for entry in compacted if isinstance(entry.body, Deltas)} <= {DeltaKind.TEXT}


def test_the_deltas_of_parallel_messages_are_joined_before_their_ends() -> None:
    found = compact(
        log(
            STARTED,
            ATTEMPT,
            begun("1.1", "a"),
            begun("1.2", "b"),
            said("1.1", "a", "x"),
            said("1.2", "b", "1"),
            said("1.1", "a", "y", "z"),
            said("1.2", "b", "2"),
            done("1.2", "b", "12"),
            done("1.1", "a", "xyz"),
            ended(("a", "xyz"), ("b", "12")),
        )
    )
    assert bodies(found)[4:8] == [
        (1, *said("1.2", "b", "12")),
        (1, *done("1.2", "b", "12")),
        (1, *said("1.1", "a", "xyz")),
        (1, *done("1.1", "a", "xyz")),
    ]
    assert [entry.time_us for entry in found[4:8]] == [6, 10, 5, 11], "a text is as old as its first piece"


def test_what_a_lost_attempt_left_unfinished_is_gone_but_for_what_it_took() -> None:
    entries = log(
        STARTED,
        ATTEMPT,
        ("1.1", NodeStarted("left", "model")),
        ("1.2", NodeStarted("right", "model")),
        begun("1.1", "a"),
        said("1.1", "a", "lost"),
        used("1.1", "a"),
        done("1.1", "a", "lost"),
        begun("1.2", "b"),
        said("1.2", "b", "kept"),
        done("1.2", "b", "kept"),
        ("1.2", NodeFinished("right")),
        ATTEMPT,
        ended(("b", "kept")),
    )
    assert bodies(compact(entries)) == [
        (1, *STARTED),
        (1, *ATTEMPT),
        (1, "1.2", NodeStarted("right", "model")),
        (1, *used("1.1", "a")),
        (1, *begun("1.2", "b")),
        (1, *said("1.2", "b", "kept")),
        (1, *done("1.2", "b", "kept")),
        (1, "1.2", NodeFinished("right")),
        (2, *ATTEMPT),
        (2, *ended(("b", "kept"))),
    ]


def test_reasoning_discarded_and_unfinished_messages_are_gone() -> None:
    entries = log(
        STARTED,
        ATTEMPT,
        begun("1.1", "a"),
        said("1.1", "a", "?", kind=DeltaKind.REASONING),
        said("1.1", "a", "x"),
        used("1.1", "a"),
        ("1.1", MessageDiscarded("a")),
        begun("1.1", "b"),
        said("1.1", "b", "y"),
        ("", RunCancelled((), ONE)),
    )
    assert bodies(compact(entries)) == [
        (1, *STARTED),
        (1, *ATTEMPT),
        (1, *used("1.1", "a")),
        (1, "", RunCancelled((), ONE)),
    ]


def test_a_long_text_is_cut_into_pieces() -> None:
    text = "\N{GRINNING FACE}" * (2 * compaction.PIECE_SIZE + 5)
    entries = log(
        STARTED, ATTEMPT, begun("1.1", "a"), said("1.1", "a", *text), done("1.1", "a", text), ended(("a", text))
    )
    pieces = [entry.body.pieces for entry in compact(entries) if isinstance(entry.body, Deltas)]
    assert [len(piece) for (piece,) in pieces] == [compaction.PIECE_SIZE, compaction.PIECE_SIZE, 5]
    assert "".join(piece for (piece,) in pieces) == text


def test_a_run_that_was_cancelled_before_it_began_has_nothing_to_lose() -> None:
    entries = log(STARTED, ("", RunCancelled((), Usage())))
    assert compact(entries) == tuple(entries)


@pytest.mark.parametrize("entries", [[], log(STARTED, ATTEMPT)], ids=["nothing", "a beginning"])
def test_a_log_without_an_end_is_refused(entries: list[Entry]) -> None:
    with pytest.raises(LogUnfinished):
        compact(entries)
