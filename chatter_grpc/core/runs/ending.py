"""Ends a run, or gives it back so that another attempt goes on with it: each in one fenced transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from chatter_grpc.core.errors import ChatterError
from chatter_grpc.core.messages import Message, TextPart
from chatter_grpc.core.models import Role
from chatter_grpc.core.runs.events import Batch, RunCancelled, RunCompleted, RunFailed, StoredMessage, Terminal
from chatter_grpc.core.runs.patience import PATIENT, Patience
from chatter_grpc.core.runs.run import Run, RunEnd, RunState
from chatter_grpc.core.runs.writer import FinishedMessage
from chatter_grpc.core.storage import Storage
from chatter_grpc.core.usage import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt came out; ``failure`` is set exactly where the state is failed.

    A run whose state is still running did not come out: another attempt is to go on with it.
    """

    state: RunState
    failure: ChatterError | None = None

    def last_event(self, messages: tuple[StoredMessage, ...], usage: Usage) -> Terminal:
        """Return the run's last event."""
        if self.failure is not None:
            return RunFailed(self.failure.reason, self.failure.message, messages, usage)
        if self.state is RunState.CANCELLED:
            return RunCancelled(messages, usage)
        return RunCompleted(messages, usage)


# Of an attempt that makes way for another, whether it gives its run back or has lost it.
HAND_OVER: Final = Outcome(state=RunState.RUNNING)


class _FenceLost(Exception):
    """Rolls the transaction back: another attempt holds the run."""


async def end_run(
    storage: Storage,
    run: Run,
    outcome: Outcome,
    last: Batch,
    messages: Sequence[FinishedMessage],
    usage: Usage,
    now: datetime,
    *,
    checkpointed: bool = False,
    patience: Patience = PATIENT,
) -> bool:
    """Write the end of a run; ``last`` are its last events, the terminal one included.

    Where it may be ``checkpointed``, its checkpoints are deleted with it.

    Returns whether the attempt still held the run; where it did not, nothing is written. While the database is away it
    is tried again, and ``StorageUnavailable`` is raised where it stays away for longer than ``patience`` lasts.
    """
    failure = outcome.failure
    end = RunEnd(
        state=outcome.state,
        usage=usage,
        finished_at=now,
        failure_reason=failure.reason if failure else "",
        failure_message=failure.message if failure else "",
    )
    stored = tuple(_stored(run, message, now) for message in messages)

    async def write(again: bool) -> bool:
        # A commit whose answer was lost may have ended the run as we meant it to; its messages are there then.
        if again and await _ended_as(storage, run, last):
            return True
        return await _write(storage, run, end, last, stored, checkpointed=checkpointed)

    return await patience.insist(write)


async def release_run(
    storage: Storage,
    run: Run,
    last: Batch | None,
    last_seq: int,
    *,
    patience: Patience = PATIENT,
) -> bool:
    """Write an attempt's ``last`` events, if there are any, and give its run back; ``last_seq`` is as in the store.

    Returns and raises as ``end_run``.
    """

    async def write(again: bool) -> bool:
        async with storage.write() as tx:
            released = await tx.runs.release(run.id, run.attempt, last, last_seq)
        # Where an answer was lost, that commit gave the run back: the log and the attempt have moved on since.
        return released or again

    return await patience.insist(write)


async def _write(
    storage: Storage, run: Run, end: RunEnd, last: Batch, stored: tuple[Message, ...], *, checkpointed: bool
) -> bool:
    try:
        async with storage.write() as tx:
            # The conversation's row first: whoever locks both rows does so in this order.
            if run.conversation_id:
                await tx.messages.append(run.conversation_id, stored, end.usage)
            if run.regeneration and stored:
                await tx.messages.replace_answers(run.owner_id, run.conversation_id, run.user_message_id, run.id)
            if not await tx.runs.finish(end, last):
                raise _FenceLost
            if checkpointed:
                await tx.checkpoints.delete((run.id,))
            if run.budget.limits_usage:
                await tx.ledger.close(run.id)
    except _FenceLost:
        return False
    return True


async def _ended_as(storage: Storage, run: Run, last: Batch) -> bool:
    async with storage.read() as tx:
        now = await tx.runs.get(run.owner_id, run.id)
    return not now.state.active and now.attempt == last.attempt and now.last_seq == last.last_seq


def _stored(run: Run, message: FinishedMessage, now: datetime) -> Message:
    return Message(
        id=message.id,
        owner_id=run.owner_id,
        conversation_id=run.conversation_id,
        run_id=run.id,
        role=Role.ASSISTANT,
        parts=(TextPart(text=message.text),) if message.text else (),
        text_sha256=message.text_sha256,
        created_at=now,
        model=message.model,
        provider=message.provider,
        finish_reason=message.finish_reason,
        usage=message.usage,
        latency_ms=message.latency_ms,
    )
