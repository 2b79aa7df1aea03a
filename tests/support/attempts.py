"""Attempts without a database: a run, its tail and its writer, for tests of what writes into them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from chatter_grpc.core.conversations import Memory, ModelSettings
from chatter_grpc.core.models import Turn
from chatter_grpc.core.runs.committer import CommitSettings, GroupCommitter
from chatter_grpc.core.runs.events import Body
from chatter_grpc.core.runs.executor import Work
from chatter_grpc.core.runs.run import Run, RunInput, RunState, WorkflowKind
from chatter_grpc.core.runs.tail import Tail
from chatter_grpc.core.runs.writer import MAX_MESSAGE_BYTES, RunWriter
from tests.support.run_logs import MemoryLog

NEVER_BEHIND = CommitSettings(max_age=3600, max_size=1 << 30)


@dataclass(slots=True)
class Written:
    """A writer whose events nobody commits."""

    tail: Tail
    writer: RunWriter

    def bodies(self) -> list[Body]:
        """Return the events since the last call."""
        batch = self.tail.take()
        return [] if batch is None else [entry.body for entry in batch.entries]


def new_writer(*, max_message_bytes: int = MAX_MESSAGE_BYTES) -> Written:
    """Return the writer of a run that has just begun."""
    tail = Tail("run", 1, (), 0)
    committer = GroupCommitter(MemoryLog(), lambda run_ids: None, NEVER_BEHIND)
    return Written(tail, RunWriter(tail, committer, max_message_bytes=max_message_bytes))


def new_input(settings: ModelSettings) -> RunInput:
    """Return what a run begins with."""
    return RunInput(user_message_id="msg", before_index=1, settings=settings, memory=Memory())


def new_work(
    settings: ModelSettings, turns: Sequence[Turn] = (), *, kind: WorkflowKind | None = WorkflowKind.PLAIN
) -> Work:
    """Return the work of a run that has not begun yet."""
    run = Run(
        id="run",
        owner_id="owner",
        actor_id="actor",
        conversation_id="conv",
        kind=kind,
        workflow_id=None if kind else "wf",
        state=RunState.RUNNING,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return Work(run=run, input=new_input(settings), turns=turns)
