"""Runs, from and to the contract."""

from typing import Final

from chatter_grpc._gen.chatter.v1 import run_pb2
from chatter_grpc.core.runs.run import Run, RunState, WorkflowKind
from chatter_grpc.rpc.convert.budgets import budget_message
from chatter_grpc.rpc.convert.times import timestamp
from chatter_grpc.rpc.errors import reason_number
from chatter_grpc.rpc.frames import usage_message

STATES: Final = {
    RunState.PENDING: run_pb2.RUN_STATE_PENDING,
    RunState.RUNNING: run_pb2.RUN_STATE_RUNNING,
    RunState.COMPLETED: run_pb2.RUN_STATE_COMPLETED,
    RunState.FAILED: run_pb2.RUN_STATE_FAILED,
    RunState.CANCELLED: run_pb2.RUN_STATE_CANCELLED,
}
STATE_OF: Final = {number: state for state, number in STATES.items()}
KINDS: Final = {WorkflowKind.PLAIN: run_pb2.WORKFLOW_KIND_PLAIN}
KIND_OF: Final = {number: kind for kind, number in KINDS.items()}


def run_message(run: Run) -> run_pb2.Run:
    """Return a run."""
    message = run_pb2.Run(
        id=run.id,
        conversation_id=run.conversation_id,
        state=STATES[run.state],
        attempt=run.attempt,
        usage=usage_message(run.usage),
        failure=failure_message(run),
        cancel_requested=run.cancel_requested_at is not None,
        last_seq=run.last_seq,
        create_time=timestamp(run.created_at),
        finish_time=timestamp(run.finished_at),
        user_message_id=run.user_message_id,
        regeneration=run.regeneration,
        budget=budget_message(run.budget),
    )
    if run.kind is not None:
        message.kind = KINDS[run.kind]
    elif run.workflow_id is not None:
        message.workflow_id = run.workflow_id
    return message


def failure_message(run: Run) -> run_pb2.RunFailure | None:
    """Return why a run failed, ``None`` where it did not."""
    if run.state is not RunState.FAILED:
        return None
    return run_pb2.RunFailure(reason=reason_number(run.failure_reason), message=run.failure_message)
