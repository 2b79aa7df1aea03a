"""The demonstration's fold keeps the contract's rules, and its hash notices every difference."""

from hashlib import sha256

import pytest

from chatter_grpc._gen.chatter.v1.run_event_pb2 import (
    AttemptStarted,
    MessageDiscarded,
    MessageFinished,
    MessageStarted,
    NodeFinished,
    RunCompleted,
    RunEvent,
    RunFailed,
    TextDelta,
)
from chatter_grpc.cli.demo.client import only_answer
from chatter_grpc.cli.demo.fold import Fold
from chatter_grpc.cli.demo.screen import CheckFailed

HASH = sha256(b"One two").hexdigest()


def started(message_id: str, step_id: str) -> RunEvent:
    return RunEvent(step_id=step_id, message_started=MessageStarted(message_id=message_id, model="chatter/offline"))


def delta(message_id: str, text: str) -> RunEvent:
    return RunEvent(text_delta=TextDelta(message_id=message_id, text=text))


def finished(message_id: str) -> RunEvent:
    return RunEvent(message_finished=MessageFinished(message_id=message_id, text_sha256=HASH))


def fold(*events: RunEvent) -> Fold:
    made = Fold()
    made.take(events)
    return made


COMPLETED = RunEvent(completed=RunCompleted())
BEGIN = (started("m1", "1.1"), delta("m1", "One "), delta("m1", "two"))


def test_deltas_make_the_text_and_the_hash_proves_it() -> None:
    answer = only_answer(fold(*BEGIN, finished("m1"), COMPLETED))
    assert (answer.text, answer.is_proven) == ("One two", True)


@pytest.mark.parametrize("lost", [1, 2])
def test_a_lost_delta_is_noticed(lost: int) -> None:
    events = [event for number, event in enumerate(BEGIN) if number != lost]
    assert not only_answer(fold(*events, finished("m1"), COMPLETED)).is_proven


def test_a_message_that_is_not_finished_is_not_proven_and_goes_at_the_end() -> None:
    assert not fold(*BEGIN).answers["m1"].is_proven
    assert not fold(*BEGIN, COMPLETED).answers


def test_a_discarded_message_is_dropped() -> None:
    assert not fold(*BEGIN, RunEvent(message_discarded=MessageDiscarded(message_id="m1"))).answers


def test_another_attempt_drops_the_messages_of_steps_that_have_not_finished() -> None:
    done = (*BEGIN, finished("m1"), RunEvent(step_id="1.1", node_finished=NodeFinished(node_id="model")))
    begun = (started("m2", "1.2"), delta("m2", "lost"))
    assert list(fold(*done, *begun, RunEvent(attempt_started=AttemptStarted())).answers) == ["m1"]


@pytest.mark.parametrize(
    "events",
    [
        (*BEGIN, finished("m1")),
        (*BEGIN, finished("m1"), RunEvent(failed=RunFailed())),
        (*BEGIN, COMPLETED),
    ],
)
def test_a_run_without_one_whole_answer_does_not_pass(events: tuple[RunEvent, ...]) -> None:
    with pytest.raises(CheckFailed):
        only_answer(fold(*events))
