"""What the nodes of a graph write, and what the run's end has to know of it."""

from chatter_grpc.core.messages import sha256_of
from chatter_grpc.core.models import FinishReason, Role
from chatter_grpc.core.runs.committer import CommitSettings, GroupCommitter
from chatter_grpc.core.runs.events import (
    Body,
    DeltaKind,
    Deltas,
    MessageDiscarded,
    MessageFinished,
    MessageStarted,
    NodeFinished,
    NodeStarted,
    StoredMessage,
    UsageReported,
)
from chatter_grpc.core.runs.tail import Tail
from chatter_grpc.core.runs.writer import MAX_DELTA, RunWriter
from chatter_grpc.core.usage import Usage
from tests.support.run_logs import MemoryLog, singles

USAGE = Usage(input_tokens=3, output_tokens=5, cost_micros=7)


def new_writer() -> tuple[RunWriter, Tail]:
    tail = Tail("run", 1, (), 0)
    return RunWriter(tail, GroupCommitter(MemoryLog(), lambda run_ids: None, CommitSettings())), tail


def written(tail: Tail) -> list[tuple[str, Body | tuple[DeltaKind, str, str]]]:
    batch = tail.take()
    assert batch is not None
    return [(step, what) for _, _, step, what in singles(batch.entries)]


def test_each_execution_of_a_node_is_a_step_of_its_own() -> None:
    writer, tail = new_writer()
    first = writer.open_step("n", "model")
    second = writer.open_step("n", "model")
    second.finish()
    first.finish()
    assert written(tail) == [
        ("1.1", NodeStarted("n", "model")),
        ("1.2", NodeStarted("n", "model")),
        ("1.2", NodeFinished("n")),
        ("1.1", NodeFinished("n")),
    ]


def test_a_message_is_started_written_counted_and_finished() -> None:
    writer, tail = new_writer()
    message = writer.open_step("n", "model").start_message("a/b", "a")
    message.add_reasoning("hm")
    message.add_text("x")
    message.add_text("y")
    finished = message.finish(FinishReason.LENGTH, USAGE)
    sha = sha256_of("xy")
    assert [what for _, what in written(tail)] == [
        NodeStarted("n", "model"),
        MessageStarted(message.id, Role.ASSISTANT, "a/b", "a"),
        (DeltaKind.REASONING, message.id, "hm"),
        (DeltaKind.TEXT, message.id, "x"),
        (DeltaKind.TEXT, message.id, "y"),
        UsageReported(message.id, "a/b", USAGE),
        MessageFinished(message.id, sha, FinishReason.LENGTH, USAGE, finished.latency_ms),
    ]
    assert (finished.text, finished.text_sha256, finished.provider) == ("xy", sha, "a")
    assert writer.messages == [finished]
    assert writer.usage == USAGE
    assert writer.stored() == (StoredMessage(message.id, sha),)


def test_a_message_without_any_text_is_a_message_too() -> None:
    writer, tail = new_writer()
    message = writer.open_step("n", "model").start_message("a/b", "a")
    message.finish(FinishReason.STOP, USAGE)
    assert [type(what) for _, what in written(tail)] == [NodeStarted, MessageStarted, UsageReported, MessageFinished]


def test_a_message_that_is_taken_back_has_been_paid_for() -> None:
    writer, tail = new_writer()
    message = writer.open_step("n", "model").start_message("a/b", "a")
    message.add_text("x")
    message.discard(USAGE)
    assert [what for _, what in written(tail)][-2:] == [
        UsageReported(message.id, "a/b", USAGE),
        MessageDiscarded(message.id),
    ]
    assert (writer.usage, writer.messages, writer.stored()) == (USAGE, [], ())


def test_a_message_that_was_never_begun_leaves_nothing_but_what_it_took() -> None:
    writer, tail = new_writer()
    message = writer.open_step("n", "model").start_message("a/b", "a")
    message.discard(USAGE)
    begun, reported = (what for _, what in written(tail))
    assert isinstance(begun, NodeStarted)
    assert (reported, writer.usage) == (UsageReported(message.id, "a/b", USAGE), USAGE)


def test_a_long_piece_is_written_as_several_that_make_it_up() -> None:
    writer, tail = new_writer()
    text = "😀" * (2 * MAX_DELTA + 1)
    writer.open_step("n", "model").start_message("a/b", "a").add_text(text)
    pieces = [what[2] for _, what in written(tail) if isinstance(what, tuple) and not isinstance(what, Deltas)]
    assert [len(piece) for piece in pieces] == [MAX_DELTA, MAX_DELTA, 1]
    assert "".join(pieces) == text
