"""How SQLite goes about statements: by its indexes, whatever there is around what is asked for."""

import re
from collections.abc import Awaitable, Callable

import pytest

from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.adapters.sql.storage import SqlStorage, SqlTransaction
from chatter_grpc.core.conversations import Conversation, ConversationFilter, ConversationOrder, ConversationStatus
from chatter_grpc.core.models import Role
from chatter_grpc.core.pages import PageRequest
from chatter_grpc.core.runs.run import LogPosition, RunFilter
from chatter_grpc.core.runs.run_logs import LogPlace
from chatter_grpc.core.search import MessageFilter
from chatter_grpc.core.search_query import parse_query
from tests.support.plans import plans, sent
from tests.support.records import LEASE, NOW, PROCESS, store_conversation

QUERY = parse_query('"green gard"* house -red -"a b"')
PAGE = PageRequest()
# What is made by the statement itself, what is looked up in an index of words, and the index of what is at work.
OWN = re.compile(
    r"SCAN (?:named|summed|lost|runs USING INDEX ix_runs_active_process|\(subquery|json_each|"
    r"\w+_terms VIRTUAL TABLE INDEX \d+:M|\w+ VIRTUAL TABLE)"
)

PLACES = [LogPlace(f"run_{number}", LogPosition(1, 2)) for number in range(3)]

Work = Callable[[SqlTransaction, Conversation], Awaitable[object]]


def conversations_by(order: ConversationOrder) -> Work:
    wanted = ConversationFilter(order=order, tag="work", text="o")
    return lambda tx, made: tx.conversations.list(made.owner_id, wanted, PAGE)


WORK: dict[str, Work] = {
    "messages": lambda tx, made: tx.messages.list(made.owner_id, made.id, PAGE, newest_first=True),
    "latest messages": lambda tx, made: tx.messages.latest(made.owner_id, made.id, 9, 9),
    "found messages": lambda tx, made: tx.search.messages(made.owner_id, QUERY, MessageFilter(), PAGE),
    "found answers": lambda tx, made: tx.search.messages(
        made.owner_id, QUERY, MessageFilter(conversation_id=made.id, role=Role.ASSISTANT), PAGE
    ),
    "found conversations": lambda tx, made: tx.search.conversations(
        made.owner_id, QUERY, ConversationStatus.ACTIVE, PAGE
    ),
    **{f"conversations by {order}": conversations_by(order) for order in ConversationOrder},
    "runs": lambda tx, made: tx.runs.list(made.owner_id, RunFilter(), PAGE),
    "runs of a conversation": lambda tx, made: tx.runs.list(made.owner_id, RunFilter(conversation_id=made.id), PAGE),
    "active runs": lambda tx, made: tx.runs.active((made.owner_id,)),
    "renewed leases": lambda tx, made: tx.runs.renew_leases(PROCESS, {"run_1": 1, "run_2": 2}, LEASE),
    "cancelled runs": lambda tx, made: tx.runs.request_cancel(("run_1", "run_2"), NOW),
    "runs to cancel": lambda tx, made: tx.runs.cancel_requested(PROCESS),
    "whether runs are lost": lambda tx, made: tx.runs.any_lost(),
    "whether runs were given back": lambda tx, made: tx.runs.any_lost(released=True),
    "a run that is given back": lambda tx, made: tx.runs.release("run_1", 1, None, 2),
    "a run that is taken to be cancelled": lambda tx, made: tx.runs.take("run_1", 1, PROCESS, LEASE),
    "lost runs": lambda tx, made: tx.runs.take_lost(PROCESS, LEASE, 9),
    "logs that are read on": lambda tx, made: tx.run_logs.read_many(PLACES, 2048),
    "extent of a fork": lambda tx, made: tx.forks.measure(made.owner_id, made.id, 9),
    "copies of a fork": lambda tx, made: tx.forks.copy(made.owner_id, made.id, 9, made.id),
}


@pytest.mark.platform("T17")
@pytest.mark.parametrize("databases", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", WORK)
async def test_no_table_is_read_from_one_end_to_the_other(database: Database, name: str) -> None:
    conversation = await store_conversation(SqlStorage(database))
    async with SqlStorage(database).write() as tx:
        with sent(database) as seen:
            await WORK[name](tx, conversation)
    assert seen
    for statement, plan in plans(database, seen):
        assert not [step for step in plan if step.startswith("SCAN") and not OWN.match(step)], (statement, plan)


@pytest.mark.parametrize("databases", ["sqlite"], indirect=True)
async def test_what_fits_on_a_page_of_messages_is_known_from_an_index_alone(database: Database) -> None:
    conversation = await store_conversation(SqlStorage(database))
    async with SqlStorage(database).write() as tx:
        with sent(database) as seen:
            await WORK["messages"](tx, conversation)
    ((_, plan),) = plans(database, seen)
    assert [step for step in plan if step.startswith("SEARCH messages USING COVERING INDEX ix_messages_page")], plan
