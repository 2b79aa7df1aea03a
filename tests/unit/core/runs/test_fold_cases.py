"""The server's own fold makes of the clients' cases what they say."""

import pytest

from chatter_grpc._gen.chatter.v1.run_event_pb2 import RunEvent
from chatter_grpc.core.messages import sha256_of
from chatter_grpc.core.models import FinishReason, Role
from chatter_grpc.core.runs import events
from chatter_grpc.core.runs.events import Body, DeltaKind, Deltas, Entry, StoredMessage
from chatter_grpc.core.runs.fold import Fold
from chatter_grpc.core.usage import Usage
from tests.support.fold_cases import CASES, GOOD, expected, frames_of

ENDS = {events.RunCompleted: "completed", events.RunFailed: "failed", events.RunCancelled: "cancelled"}


def entry_of(event: RunEvent) -> Entry | None:
    """Return an event as the log has it; ``None`` for what it does not have."""
    body = body_of(event)
    return None if body is None else Entry(event.first_seq, event.attempt, event.step_id, 0, body)


def body_of(event: RunEvent) -> Body | None:
    kind = event.WhichOneof("event")
    if kind is None:
        return None
    body = getattr(event, kind)
    match kind:
        case "run_started":
            return events.RunStarted(body.run_id, body.conversation_id, body.user_message_id)
        case "attempt_started":
            return events.AttemptStarted()
        case "node_started":
            return events.NodeStarted(body.node_id, body.node_type)
        case "node_finished":
            return events.NodeFinished(body.node_id)
        case "message_started":
            return events.MessageStarted(body.message_id, Role.ASSISTANT, body.model, body.provider)
        case "text_delta" | "reasoning_delta":
            delta = DeltaKind.TEXT if kind == "text_delta" else DeltaKind.REASONING
            return Deltas(delta, body.message_id, (body.text,))
        case "usage":
            return events.UsageReported(body.message_id, body.model, Usage())
        case "message_discarded":
            return events.MessageDiscarded(body.message_id)
        case "message_finished":
            return events.MessageFinished(body.message_id, body.text_sha256, FinishReason.STOP, Usage(), 0)
    stored = tuple(StoredMessage(each.message_id, each.text_sha256) for each in body.messages)
    if kind == "failed":
        return events.RunFailed("", "", stored, Usage())
    return events.RunCompleted(stored, Usage()) if kind == "completed" else events.RunCancelled(stored, Usage())


@pytest.mark.parametrize("case", GOOD)
def test_a_log_folds_to_what_the_clients_make_of_it(case: str) -> None:
    fold = Fold()
    for frame in frames_of(case):
        if frame.control.HasField("snapshot"):
            fold = Fold()
        fold.take(entry for event in frame.events if (entry := entry_of(event)) is not None)
    found = [(key, message.text, message.finished is not None) for key, message in fold.messages.items()]
    assert found == expected(case)
    assert ("" if fold.end is None else ENDS[type(fold.end)]) == CASES[case]["end"]
    for message in fold.messages.values():
        assert message.finished is None or message.finished.text_sha256 == sha256_of(message.text)
