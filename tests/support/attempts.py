"""Attempts without a database: a run, its tail and its writer, for tests of what writes into them."""

from dataclasses import dataclass
from datetime import UTC, datetime

from chatter_grpc.core.conversations import Memory, ModelSettings
from chatter_grpc.core.runs.committer import CommitSettings, GroupCommitter
from chatter_grpc.core.runs.events import Body
from chatter_grpc.core.runs.run import Run, RunInput, RunState, WorkflowKind
from chatter_grpc.core.runs.tail import Tail
from chatter_grpc.core.runs.writer import RunWriter
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


def new_writer() -> Written:
    """Return the writer of a run that has just begun."""
    tail = Tail("run", 1, (), 0)
    return Written(tail, RunWriter(tail, GroupCommitter(MemoryLog(), lambda run_ids: None, NEVER_BEHIND)))


def new_run(settings: ModelSettings, *, kind: WorkflowKind | None = WorkflowKind.PLAIN) -> Run:
    """Return a run as it is before it begins."""
    return Run(
        id="run",
        owner_id="owner",
        actor_id="actor",
        conversation_id="conv",
        kind=kind,
        workflow_id=None if kind else "wf",
        input=RunInput(user_message_id="msg", user_text="hi", before_index=1, settings=settings, memory=Memory()),
        state=RunState.RUNNING,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
