"""Prepares attempts at runs that were claimed or taken over, and ends the runs at which there is to be none."""

import logging
from collections.abc import Sequence
from datetime import datetime

from chatter_grpc.core.errors import ChatterError, Internal, StorageUnavailable
from chatter_grpc.core.models import Turn
from chatter_grpc.core.runs.ending import Outcome, end_run
from chatter_grpc.core.runs.events import Batch, Body, Entry, StoredMessage
from chatter_grpc.core.runs.executor import Work
from chatter_grpc.core.runs.fold import Fold
from chatter_grpc.core.runs.patience import PATIENT, Patience
from chatter_grpc.core.runs.reader import FRAME_SIZE
from chatter_grpc.core.runs.run import LogPosition, Run, Taken
from chatter_grpc.core.runs.turns import remembered_turns
from chatter_grpc.core.runs.writer import finished_message
from chatter_grpc.core.storage import Storage

_log = logging.getLogger(__name__)


async def load_work(storage: Storage, run: Run, taken: Taken | None = None, before: Fold | None = None) -> Work:
    """Return what an attempt is given: the first one at a claimed run, or one at a run that was ``taken`` over.

    ``before`` is the fold of the taken run's log. Raises ``StorageUnavailable``, and another ``ChatterError`` for why
    the run cannot be worked on.
    """
    try:
        async with storage.read() as tx:
            run_input = await tx.runs.input(run.owner_id, run.id)
            turns: Sequence[Turn] = ()
            # What the server does for itself answers no message.
            if run_input.user_message_id:
                message = await tx.messages.get(run.owner_id, run_input.user_message_id)
                turns = await remembered_turns(tx, run_input, message)
    except ChatterError:
        raise
    except Exception as error:
        _log.exception("run_fault", extra={"run_id": run.id})
        raise Internal from error
    return Work(run=run, input=run_input, turns=turns, before=before, elapsed=0.0 if taken is None else taken.elapsed)


async def fold_log(storage: Storage, run: Run) -> Fold:
    """Return the fold of a run's log, read page by page, with what its calls reserved; raises as ``load_work``."""
    fold = Fold()
    position = LogPosition()
    try:
        while True:
            async with storage.read() as tx:
                entries = await tx.runs.read_log(run.id, position, FRAME_SIZE)
                if not entries:
                    if run.budget.limits_usage:
                        fold.take_reservations(await tx.ledger.read(run.id))
                    return fold
            fold.take(entries)
            position = LogPosition(entries[-1].attempt, entries[-1].seq)
    except StorageUnavailable:
        raise
    except Exception as error:
        _log.exception("run_fault", extra={"run_id": run.id})
        raise Internal from error


async def end_unstarted(
    storage: Storage,
    run: Run,
    before: Fold,
    outcome: Outcome,
    now: datetime,
    *,
    patience: Patience = PATIENT,
) -> bool:
    """End a run with what the attempts before wrote (``before``), in the name of the attempt that holds it.

    ``run.last_seq`` is the log's last number. Returns whether that attempt still held it; raises as ``end_run``.
    """
    messages = [finished_message(message) for message in before.finished_messages]
    stored = tuple(StoredMessage(message.id, message.text_sha256) for message in messages)
    usage = before.usage
    bodies: list[Body] = []
    for lost in before.lost_calls():
        usage += lost.usage
        bodies.append(lost)
    bodies.append(outcome.last_event(stored, usage))
    time_us = round(now.timestamp() * 1_000_000)
    entries = tuple(Entry(seq, run.attempt, "", time_us, body) for seq, body in enumerate(bodies, run.last_seq + 1))
    last = Batch(run.id, run.attempt, entries)
    return await end_run(storage, run, outcome, last, messages, usage, now, checkpointed=True, patience=patience)
