"""Keeps house without a run, and stores all that can hang on a conversation."""

from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import select

from chatter_grpc.adapters.sql import schema
from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.core.audit import Action, Resource
from chatter_grpc.core.budgets import Reservation
from chatter_grpc.core.conversations import Conversation, Memory, ModelSettings
from chatter_grpc.core.housekeeping.duties import Cutoffs, Duty, Retention
from chatter_grpc.core.housekeeping.store import SYSTEM
from chatter_grpc.core.ids import AUDIT, RUN, new_id
from chatter_grpc.core.images import image_part
from chatter_grpc.core.messages import Rating
from chatter_grpc.core.requests import RequestKey
from chatter_grpc.core.runs.checkpoints import Place, StoredCheckpoint, StoredWrite, ValueKey
from chatter_grpc.core.runs.compaction import compact_log
from chatter_grpc.core.runs.run import Run, RunInput, RunState, WorkflowKind
from chatter_grpc.core.storage import Storage, Transaction
from chatter_grpc.core.usage import Usage
from tests.support.images import PNG
from tests.support.records import NOW, a_message, an_answer, finish_run, start_run, store_conversation

RETENTION = Retention()
PASS_INPUT = RunInput(user_message_id="", before_index=0, settings=ModelSettings(), memory=Memory())


def a_pass(created_at: datetime = NOW) -> Run:
    """A housekeeping run."""
    return Run(
        id=new_id(RUN),
        owner_id=SYSTEM,
        actor_id=SYSTEM,
        conversation_id="",
        kind=WorkflowKind.HOUSEKEEPING,
        workflow_id=None,
        state=RunState.RUNNING,
        created_at=created_at,
    )


async def sweep(storage: Storage, now: datetime, *duties: Duty, limit: int = 500) -> Counter[str]:
    """Remove all that is due, as a pass would, and return how many rows of each table."""
    cutoffs = Cutoffs.at(now, RETENTION)
    removed: Counter[str] = Counter()
    for duty in duties or [each for each in Duty if each is not Duty.LOGS]:
        while await is_due(storage, now, duty):
            async with storage.write() as tx:
                portion = Counter(await tx.housekeeping.remove(duty, cutoffs, limit))
            if not portion.total():
                break
            removed += portion
    return removed


async def is_due(storage: Storage, now: datetime, duty: Duty) -> bool:
    """Whether there is anything of a kind to remove."""
    async with storage.read() as tx:
        return await tx.housekeeping.is_due(duty, Cutoffs.at(now, RETENTION))


async def rows_naming(database: Database, ids: Collection[str]) -> Counter[str]:
    """Count, in every table there is, the rows in which one of these ids stands anywhere."""
    found: Counter[str] = Counter()
    async with database.reading() as statements:
        for table in schema.METADATA.sorted_tables:
            for row in await statements.rows(select(table)):
                found[table.name] += any(each in _shown(value) for each in ids for value in row)
    return +found


def _shown(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


async def store_laden_conversation(storage: Storage, owner_id: str = "") -> tuple[Conversation, list[str]]:
    """Store a conversation with everything that can hang on one; return it with its ids and those of what hangs on it.

    It has two runs that ended, one of them with a compacted log, and messages with an image, a rating, one that was
    replaced and one that was deleted.
    """
    conversation = await store_conversation(storage, owner_id)
    ids = [conversation.id]
    for number in range(2):
        run = await start_run(storage, conversation)
        question = a_message(
            conversation, run.id, parts=(*a_message(conversation, run.id).parts, image_part("image/png", PNG))
        )
        answers = [an_answer(conversation, run.id, text=f"Answer {each}") for each in range(3)]
        async with storage.write() as tx:
            await tx.messages.append(conversation.id, (question, *answers), Usage())
            await tx.images.add((question,))
            await _change(tx, conversation, answers[0].id, answers[1].id)
            await _build_scaffolding(tx, run)
            key = RequestKey(owner_id=conversation.owner_id, method="/m", request_id=run.id[-36:], payload_hash=b"")
            await tx.requests.claim(key, run.id, NOW)
        await finish_run(storage, run)
        ids += [run.id, question.id, *(each.id for each in answers)]
        if number:
            async with storage.write() as tx:
                assert await compact_log(tx, run.id) is not None
                await tx.housekeeping.drop_scaffolding(run.id)
    async with storage.write() as tx:
        await tx.audit.add(Action(method="/m"), new_id(AUDIT), Resource(kind="conversation", id=conversation.id), "OK")
        return await tx.conversations.get(conversation.owner_id, conversation.id), ids


async def _change(tx: Transaction, conversation: Conversation, rated: str, deleted: str) -> None:
    await tx.messages.rate(conversation.owner_id, rated, Rating(value=5, comment="good", rated_at=NOW))
    await tx.messages.remove(conversation.owner_id, await tx.messages.get(conversation.owner_id, deleted), NOW)


async def _build_scaffolding(tx: Transaction, run: Run) -> None:
    """Store what a run has while it is at work."""
    place = Place(run.id)
    checkpoint = StoredCheckpoint(place=place, id="1", parent_id="", body=b"b", metadata=b"m")
    await tx.checkpoints.add(checkpoint, {ValueKey("channel", "1"): b"value"})
    write = StoredWrite(task_id="t", task_path="", index=0, channel="channel", value=b"v")
    await tx.checkpoints.add_writes(place, "1", [write])
    reserved = Reservation(
        message_id=f"msg_{run.id}", attempt=1, model="p/m", input_tokens=1, output_tokens=1, price=None
    )
    await tx.ledger.put(run.id, reserved)


async def delete_conversation(storage: Storage, conversation: Conversation, purge_at: datetime) -> None:
    """Delete a conversation as its owner does."""
    async with storage.write() as tx:
        await tx.conversations.replace(replace(conversation, deleted_at=NOW, purge_at=purge_at))
