"""The fold, by the cases that clients in every language share."""

from copy import deepcopy
from functools import reduce
from typing import Any

import pytest

from chatter_client import Fold, IntegrityError, fold
from chatter_client.contract import run_event_pb2, run_service_pb2
from chatter_client.folding import joined
from chatter_grpc.cli.demo.fold import Fold as DemoFold
from tests.support.fold import ClientFold, StreamBroken
from tests.support.fold_cases import BAD, CASES, GOOD, events_of, expected, frames_of

TOLD = {
    "gap": "does not follow",
    "hash": "does not have the hash",
    "stored": "stored",
    "end": "last event",
    "unknown_message": "has not begun",
}


def folded(frames: list[Any], before: Fold | None = None) -> Fold:
    return reduce(fold, frames, before or Fold())


@pytest.mark.parametrize("case", GOOD)
def test_frames_fold_to_messages(case: str) -> None:
    found = folded(frames_of(case))
    messages = [(message.id, message.text, message.finished is not None) for message in found.messages.values()]
    assert messages == expected(case)
    assert ("" if found.end is None else found.end.WhichOneof("event")) == CASES[case]["end"]


@pytest.mark.parametrize("case", GOOD)
def test_the_fold_does_not_depend_on_how_events_come(case: str) -> None:
    singles: list[Any] = []
    for frame in frames_of(case):
        singles += [type(frame)(events=[event]) for event in frame.events]
        singles.append(type(frame)(control=frame.control if frame.HasField("control") else None))
    assert folded(singles) == folded(frames_of(case))


@pytest.mark.parametrize("case", CASES)
def test_folding_leaves_what_was_before_as_it_was(case: str) -> None:
    now = Fold()
    for frame in frames_of(case):
        before, copy = now, deepcopy(now)
        try:
            now = fold(before, frame)
        except IntegrityError:
            assert case in BAD
        assert before == copy


@pytest.mark.parametrize("case", BAD)
def test_events_that_cannot_be_trusted_are_refused(case: str) -> None:
    with pytest.raises(IntegrityError, match=TOLD[CASES[case]["fault"]]):
        folded(frames_of(case))


@pytest.mark.parametrize("case", [name for name in GOOD if "not known" not in name])
def test_the_fold_of_the_tests_agrees(case: str) -> None:
    checker = ClientFold()
    for frame in frames_of(case):
        checker.take_frame(frame)
    assert [(key, message.text) for key, message in checker.messages.items()] == texts(case)


@pytest.mark.parametrize("case", [name for name in GOOD if "not known" not in name and "snapshot" not in name])
def test_the_fold_of_the_demonstration_agrees(case: str) -> None:
    shown = DemoFold()
    shown.take(events_of(case))
    assert [(key, answer.text) for key, answer in shown.answers.items()] == texts(case)


@pytest.mark.parametrize("case", [name for name in BAD if CASES[name]["fault"] != "unknown_message"])
def test_the_fold_of_the_tests_refuses_the_same(case: str) -> None:
    with pytest.raises(StreamBroken):
        checked(frames_of(case))


def texts(case: str) -> list[tuple[str, str]]:
    return [(key, text) for key, text, _ in expected(case)]


def checked(frames: list[Any]) -> dict[str, str]:
    checker = ClientFold()
    for frame in frames:
        checker.take_frame(frame)
    return checker.stored


def frame(events: list[Any]) -> run_service_pb2.WatchRunResponse:
    return run_service_pb2.WatchRunResponse(events=events)


def test_a_fold_that_begins_in_the_middle_passes_over_what_it_has_not_seen() -> None:
    events = events_of("a whole answer")
    found = fold(Fold(partial=True), frame(events[4:]))
    assert found.messages == {}
    assert found.end is not None


def test_a_fold_that_begins_in_the_middle_still_notices_a_gap() -> None:
    events = events_of("a whole answer")
    begun = fold(Fold(partial=True), frame(events[2:4]))
    with pytest.raises(IntegrityError):
        fold(begun, frame(events[5:]))


def test_a_fold_that_begins_in_the_middle_is_whole_after_a_snapshot() -> None:
    begun = fold(Fold(partial=True), frame(events_of("a whole answer")[2:4]))
    found = folded(frames_of("a snapshot from the beginning"), begun)
    assert not found.partial
    assert found.text == "Hello"


def test_what_the_first_event_names_is_kept() -> None:
    found = folded(frames_of("nothing but the beginning"))
    assert (found.run_id, found.conversation_id, found.user_message_id) == ("run_1", "conv_1", "msg_0")


def test_a_long_text_of_short_pieces_is_kept_in_few() -> None:
    pieces: tuple[str, ...] = ()
    moved = 0
    for number in range(20_000):
        before = {id(piece) for piece in pieces}
        pieces = joined(pieces, str(number % 10))
        moved += sum(len(piece) for piece in pieces if id(piece) not in before)
    assert "".join(pieces) == "0123456789" * 2_000
    assert len(pieces) < 20
    assert moved < 20_000 * 20, "a character is copied as often as its text doubles, and not with every piece"


def test_deltas_of_any_size_make_their_text() -> None:
    events = events_of("a message that is being written")[:4]
    sizes = [1, 5, 0, 300, 2, 2, 700, 1]
    seq = 4
    for size in sizes:
        seq += 1
        delta = run_event_pb2.TextDelta(message_id="msg_a", text=chr(97 + seq) * size)
        events.append(run_event_pb2.RunEvent(first_seq=seq, seq=seq, attempt=1, step_id="1.1", text_delta=delta))
    expected_text = "".join(event.text_delta.text for event in events[4:])
    assert fold(Fold(), frame(events)).text == expected_text
