"""The fold, by the cases that clients in every language share."""

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from chatter_client import Fold, IntegrityError
from chatter_client.contract import run_event_pb2
from chatter_grpc.cli.demo.fold import Fold as DemoFold
from tests.support.fold import ClientFold, StreamBroken

ROOT = Path(__file__).resolve().parents[2]
CASES: dict[str, Any] = {
    case["name"]: case for case in json.loads((ROOT / "clients" / "fold_cases.json").read_text())["cases"]
}
GOOD = [name for name, case in CASES.items() if "fault" not in case]
BAD = [name for name, case in CASES.items() if "fault" in case]
PARTED = {"gap": "does not follow", "hash": "does not have the hash", "stored": "stored", "end": "last event"}


def events_of(case: str) -> list[Any]:
    return [ParseDict(event, run_event_pb2.RunEvent()) for event in CASES[case]["events"]]


def expected(case: str) -> list[tuple[str, str, bool]]:
    return [(each["id"], each["text"], each["finished"]) for each in CASES[case]["messages"]]


@pytest.mark.parametrize("case", GOOD)
def test_events_fold_to_messages(case: str) -> None:
    fold = Fold()
    fold.take(events_of(case))
    found = [(message.id, message.text, message.finished is not None) for message in fold.messages.values()]
    assert found == expected(case)
    assert ("" if fold.end is None else fold.end.WhichOneof("event")) == CASES[case]["end"]


@pytest.mark.parametrize("case", GOOD)
def test_the_fold_does_not_depend_on_how_events_come(case: str) -> None:
    one, all_at_once = Fold(), Fold()
    for event in events_of(case):
        one.take([event])
    all_at_once.take(events_of(case))
    assert one.messages == all_at_once.messages


@pytest.mark.parametrize("case", BAD)
def test_events_that_cannot_be_trusted_are_refused(case: str) -> None:
    told = {**PARTED, "unknown_message": "has not begun"}[CASES[case]["fault"]]
    with pytest.raises(IntegrityError, match=told):
        Fold().take(events_of(case))


@pytest.mark.parametrize("case", [name for name in GOOD if "not known" not in name])
def test_the_other_folds_of_the_repository_agree(case: str) -> None:
    checker, shown = ClientFold(), DemoFold()
    checker.take(events_of(case))
    shown.take(events_of(case))
    texts = [(key, text) for key, text, _ in expected(case)]
    assert [(key, message.text) for key, message in checker.messages.items()] == texts
    assert [(key, answer.text) for key, answer in shown.answers.items()] == texts


@pytest.mark.parametrize("case", ["a gap", "an event that comes twice", "a text that does not have its hash"])
def test_the_fold_of_the_tests_refuses_the_same(case: str) -> None:
    with pytest.raises(StreamBroken):
        checked(events_of(case))


def checked(events: list[Any]) -> dict[str, str]:
    fold = ClientFold()
    fold.take(events)
    return fold.stored


def test_a_fold_that_begins_in_the_middle_passes_over_what_it_has_not_seen() -> None:
    events = events_of("a whole answer")
    fold = Fold(partial=True)
    fold.take(events[4:])
    assert fold.messages == {}
    assert fold.end is not None


def test_a_fold_that_begins_in_the_middle_still_notices_a_gap() -> None:
    events = events_of("a whole answer")
    fold = Fold(partial=True)
    fold.take(events[2:4])
    with pytest.raises(IntegrityError):
        fold.take(events[5:])


def test_what_the_first_event_names_is_kept() -> None:
    fold = Fold()
    fold.take(events_of("nothing but the beginning"))
    assert (fold.run_id, fold.conversation_id, fold.user_message_id) == ("run_1", "conv_1", "msg_0")
