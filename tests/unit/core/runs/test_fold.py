"""The fold of a run's events, case by case."""

from collections.abc import Sequence

import pytest

from chatter_grpc.core.messages import sha256_of
from chatter_grpc.core.models import FinishReason, Role
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
    RunFailed,
    RunStarted,
    StoredMessage,
    UsageReported,
)
from chatter_grpc.core.runs.fold import Fold
from chatter_grpc.core.usage import Usage

Event = tuple[str, Body]
ONE = Usage(input_tokens=3, output_tokens=2, cost_micros=7)
BEGINNING: tuple[Event, ...] = (("", RunStarted("run", "conv", "user")), ("", AttemptStarted()))


def started(step: str, message: str) -> Event:
    return step, MessageStarted(message, Role.ASSISTANT, "scripted/a", "scripted")


def said(step: str, message: str, *pieces: str) -> Event:
    return step, Deltas(DeltaKind.TEXT, message, pieces)


def thought(step: str, message: str, *pieces: str) -> Event:
    return step, Deltas(DeltaKind.REASONING, message, pieces)


def finished(step: str, message: str, text: str) -> Event:
    return step, MessageFinished(message, sha256_of(text), FinishReason.STOP, ONE, 1)


def used(step: str, message: str) -> Event:
    return step, UsageReported(message, "scripted/a", ONE)


def stored(*messages: str) -> tuple[StoredMessage, ...]:
    return tuple(StoredMessage(message, "") for message in messages)


def node(step: str) -> Event:
    return step, NodeFinished("n")


NEW_ATTEMPT: Event = ("", AttemptStarted())
COMPLETED = RunCompleted((), Usage())
FAILED = RunFailed("PROVIDER_TIMEOUT", "…", (), Usage())
CANCELLED = RunCancelled((), Usage())

CASES: dict[str, tuple[Sequence[Event], dict[str, str]]] = {
    "nothing but the beginning": (BEGINNING, {}),
    "a message being written": (
        [("1.1", NodeStarted("n", "model")), started("1.1", "a"), said("1.1", "a", "x", "y")],
        {"a": "xy"},
    ),
    "a whole answer": (
        [started("1.1", "a"), said("1.1", "a", "x"), finished("1.1", "a", "x"), node("1.1"), ("", COMPLETED)],
        {"a": "x"},
    ),
    "reasoning is no text": (
        [started("1.1", "a"), thought("1.1", "a", "hm"), said("1.1", "a", "x"), finished("1.1", "a", "x")],
        {"a": "x"},
    ),
    "an empty answer": ([started("1.1", "a"), finished("1.1", "a", ""), ("", COMPLETED)], {"a": ""}),
    "two messages at once": (
        [started("1.1", "a"), started("1.2", "b"), said("1.1", "a", "x"), said("1.2", "b", "y"), said("1.1", "a", "z")],
        {"a": "xz", "b": "y"},
    ),
    "a message discarded, and another one after it": (
        [
            started("1.1", "a"),
            said("1.1", "a", "x"),
            ("1.1", MessageDiscarded("a")),
            started("1.1", "b"),
            said("1.1", "b", "y"),
        ],
        {"b": "y"},
    ),
    "a new attempt forgets a message in the middle": (
        [started("1.1", "a"), said("1.1", "a", "x"), NEW_ATTEMPT],
        {},
    ),
    "a new attempt forgets a finished message of a step that has not finished": (
        [started("1.1", "a"), said("1.1", "a", "x"), finished("1.1", "a", "x"), NEW_ATTEMPT],
        {},
    ),
    "a new attempt keeps a finished parallel step": (
        [
            started("1.1", "a"),
            started("1.2", "b"),
            said("1.1", "a", "x"),
            said("1.2", "b", "y"),
            finished("1.2", "b", "y"),
            node("1.2"),
            said("1.1", "a", "z"),
            NEW_ATTEMPT,
            started("2.1", "c"),
            said("2.1", "c", "again"),
        ],
        {"b": "y", "c": "again"},
    ),
    "a cancelled run keeps what was finished": (
        [
            started("1.1", "a"),
            said("1.1", "a", "x"),
            ("1.1", MessageFinished("a", sha256_of("x"), FinishReason.CANCELLED, ONE, 1)),
            ("", CANCELLED),
        ],
        {"a": "x"},
    ),
    "a failed run forgets what was not finished": (
        [
            started("1.1", "a"),
            said("1.1", "a", "x"),
            finished("1.1", "a", "x"),
            node("1.1"),
            started("1.2", "b"),
            said("1.2", "b", "y"),
            ("", FAILED),
        ],
        {"a": "x"},
    ),
}


def entries(events: Sequence[Event]) -> list[Entry]:
    found: list[Entry] = []
    seq = attempt = 1
    for step, body in events:
        attempt += bool(found) and body == AttemptStarted() and found[-1].seq > 1
        found.append(Entry(seq, attempt, step, 0, body))
        seq = found[-1].seq + 1
    return found


@pytest.mark.parametrize("case", CASES)
def test_events_fold_to_messages(case: str) -> None:
    events, expected = CASES[case]
    fold = Fold()
    fold.take(entries(events))
    assert {key: message.text for key, message in fold.messages.items()} == expected


def test_the_fold_does_not_depend_on_how_the_log_is_cut() -> None:
    events, expected = CASES["a new attempt keeps a finished parallel step"]
    fold = Fold()
    for entry in entries(events):
        body = entry.body
        if isinstance(body, Deltas):
            for place, piece in enumerate(body.pieces):
                single = Deltas(body.kind, body.message_id, (piece,))
                fold.take([Entry(entry.first_seq + place, entry.attempt, entry.step_id, 0, single)])
        else:
            fold.take([entry])
    assert {key: message.text for key, message in fold.messages.items()} == expected


def test_usage_is_that_of_every_call_also_of_one_that_was_taken_back() -> None:
    fold = Fold()
    fold.take(
        entries(
            [
                started("1.1", "a"),
                used("1.1", "a"),
                ("1.1", MessageDiscarded("a")),
                NEW_ATTEMPT,
                started("2.1", "b"),
                used("2.1", "b"),
            ]
        )
    )
    assert fold.usage == ONE + ONE


def test_calls_that_never_told_what_they_took_are_known_through_all_attempts() -> None:
    fold = Fold()
    events: list[Event] = [
        *BEGINNING,
        started("1.1", "a"),
        thought("1.1", "a", "12345678"),
        said("1.1", "a", "1234"),
        started("1.2", "b"),
        used("1.2", "b"),
        NEW_ATTEMPT,
        started("2.1", "c"),
        NEW_ATTEMPT,
    ]
    fold.take(entries(events))
    assert fold.messages == {}
    assert set(fold.unreported) == {"a", "c"}
    assert fold.usage == ONE
    assert {call.message_id: call.usage.output_tokens for call in fold.lost_calls()} == {"a": 3, "c": 0}
    fold.take(entries([*events, used("", "a"), used("", "c")])[-2:])
    assert not fold.lost_calls()


def test_the_nodes_that_have_finished_are_known_by_name() -> None:
    fold = Fold()
    fold.take(entries([*BEGINNING, ("1.1", NodeStarted("n", "model")), ("1.2", NodeStarted("other", "model"))]))
    assert fold.finished_nodes == set()
    fold.take(entries([*BEGINNING, ("1.1", NodeStarted("n", "model")), node("1.1"), NEW_ATTEMPT])[-2:])
    assert fold.finished_nodes == {"n"}


@pytest.mark.parametrize("end", [COMPLETED, FAILED, CANCELLED])
def test_the_last_event_is_the_end(end: Body) -> None:
    fold = Fold()
    fold.take(entries([*BEGINNING]))
    assert fold.end is None
    fold.take(entries([("", end)]))
    assert fold.end == end


def test_a_finished_message_carries_what_its_last_event_says() -> None:
    fold = Fold()
    fold.take(entries([started("1.1", "a"), said("1.1", "a", "x"), finished("1.1", "a", "x")]))
    (message,) = fold.messages.values()
    assert message.finished is not None
    assert message.finished.text_sha256 == sha256_of(message.text)
    assert message.started.model == "scripted/a"
