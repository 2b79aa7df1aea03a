"""How many statements things take: the same, however much there is to list."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.adapters.sql.storage import SqlStorage, SqlTransaction
from chatter_grpc.core.conversations import Conversation, ConversationFilter, ConversationOrder, ModelSettings
from chatter_grpc.core.pages import Page, PageRequest
from chatter_grpc.core.requests import RequestKey
from chatter_grpc.core.runs.run import RunFilter
from chatter_grpc.core.starts import Asker
from chatter_grpc.core.usage import Usage
from tests.support.records import (
    LEASE,
    NOW,
    PROCESS,
    a_conversation,
    a_message,
    a_run,
    an_answer,
    an_end,
    an_input,
    first_batch,
    last_batch,
    start_run,
    store_conversation,
)

MANY = 1001


@contextmanager
def counting(database: Database) -> Iterator[list[str]]:
    """Collect the statements that are sent within."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith("BEGIN"):
            sent.append(statement)

    # On PostgreSQL both are one.
    engines = [database._writer.sync_engine, *([database._reader.sync_engine] if database.is_sqlite else [])]
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    yield sent
    for engine in engines:
        event.remove(engine, "before_cursor_execute", note)


@pytest.fixture
async def full(database: Database) -> Conversation:
    """A conversation of an owner who has more of everything than a page holds."""
    storage = SqlStorage(database)
    conversation = await store_conversation(storage)
    run = await start_run(storage, conversation)
    async with storage.write() as tx:
        await tx.messages.append(
            conversation.id, tuple(a_message(conversation, run.id, text="x") for _ in range(MANY)), Usage()
        )
        for _ in range(MANY):
            await tx.conversations.add(a_conversation(conversation.owner_id, tags=("work",)))
            more = a_run(conversation, conversation_id="")
            await tx.runs.add(more, an_input(more), first_batch(more), process_id=PROCESS, lease_seconds=LEASE)
    return conversation


List = Callable[[SqlTransaction, PageRequest], Awaitable[Page[Any]]]


@pytest.mark.platform("T17")
async def test_the_number_of_statements_of_a_list_does_not_grow_with_the_page(
    database: Database, full: Conversation
) -> None:
    owner_id = full.owner_id

    def conversations(wanted: ConversationFilter) -> List:
        return lambda tx, page: tx.conversations.list(owner_id, wanted, page)

    lists: dict[str, List] = {
        "messages": lambda tx, page: tx.messages.list(owner_id, full.id, page, newest_first=True),
        "runs": lambda tx, page: tx.runs.list(owner_id, RunFilter(), page),
        "conversations by tag": conversations(ConversationFilter(tag="work", text="o")),
        **{order: conversations(ConversationFilter(order=order)) for order in ConversationOrder},
    }
    counts = {}
    for name, read in lists.items():
        for size in (1, 50, 1000):
            async with SqlStorage(database).read() as tx:
                with counting(database) as sent:
                    page = await read(tx, PageRequest(size=size))
                assert len(page.items) == size
                counts[name, size] = len(sent)
    assert set(counts.values()) == {1}, counts


async def test_no_reading_of_runs_reads_what_they_began_with(database: Database) -> None:
    """An input may be as large as a message: a page of them would hold up everyone."""
    storage = SqlStorage(database)
    conversation = await store_conversation(storage)
    run = await start_run(storage, conversation, lease=0, settings=ModelSettings(system_prompt="x" * 4_000_000))
    owner_id, read = run.owner_id, PageRequest(size=1000)
    with counting(database) as sent:
        async with storage.write() as tx:
            assert await tx.runs.get(owner_id, run.id) == run
            assert (await tx.runs.list(owner_id, RunFilter(), read)).items == (run,)
            assert await tx.runs.active([owner_id]) == (run,)
            assert [taken.run.id for taken in await tx.runs.take_lost(PROCESS, LEASE, 1)] == [run.id]
    assert len(sent) == 6
    assert [statement for statement in sent if "run_inputs" in statement] == []
    with counting(database) as sent:
        async with storage.read() as tx:
            assert len((await tx.runs.input(owner_id, run.id)).settings.system_prompt or "") == 4_000_000
    assert [statement for statement in sent if "run_inputs" not in statement] == []


async def test_a_run_starts_and_ends_in_few_statements(database: Database) -> None:
    storage = SqlStorage(database)
    conversation = await store_conversation(storage)
    run = a_run(conversation)
    key = RequestKey(owner_id=run.owner_id, method="/m", request_id="r1", payload_hash=b"h")
    with counting(database) as start:
        async with storage.write() as tx:
            asker = Asker(actor_id=run.actor_id, owner_id=run.owner_id)
            held = await tx.starts.hold(asker, conversation.id, key, run.id, NOW)
            asked = (a_message(conversation, run.id),)
            await tx.messages.append(conversation.id, asked, Usage(), after=held.last_index)
            await tx.runs.add(run, an_input(run), first_batch(run), process_id=PROCESS, lease_seconds=LEASE, most=1)
    with counting(database) as end:
        async with storage.write() as tx:
            await tx.messages.append(conversation.id, (an_answer(conversation, run.id),), Usage())
            assert await tx.runs.finish(an_end(), last_batch(run))
    assert (len(start), len(end)) == (11, 5)
