"""Words of what was stored before there were any, and how an index is asked for words."""

import asyncio
import json
from collections.abc import Iterator

import pytest
from alembic import command
from sqlalchemy import Connection, text

from chatter_grpc.adapters.sql import schema
from chatter_grpc.adapters.sql.database import Database
from chatter_grpc.adapters.sql.storage import SqlStorage
from chatter_grpc.adapters.sql.words import index_query, tag_of
from chatter_grpc.core.conversations import ConversationFilter
from chatter_grpc.core.pages import PageRequest
from chatter_grpc.core.search import MessageFilter
from chatter_grpc.core.search_query import parse_query
from tests.support.databases import PostgresDatabases, SqliteFiles

OWNER = "user_1"
# More than one batch.
COUNT = 700
ROWS = {
    "users": "(id, username, username_key, email, display_name, role, state, created_at) "
    "VALUES ('user_1', 'ada', 'ada', 'a@b', '', 'member', 'active', {at})",
    "owners": "(id, user_id, subject, created_at) VALUES ('user_1', 'user_1', '', {at})",
    "conversations": "(id, owner_id, title, description, status, settings, memory, tags, metadata, created_at, "
    "updated_at, active_at, version, message_count, last_index, input_tokens, output_tokens, estimated) "
    "VALUES ('conv_1', 'user_1', 'Große Gärten', 'old', 'active', '{{\"system_prompt\": \"é\"}}', "
    '\'{{"mode": "window", "window": 20}}\', \'["t"]\', \'{{"k": "v"}}\', {at}, {at}, {at}, 1, 700, 700, 0, 0, {no})',
    "runs": "(id, owner_id, actor_id, conversation_id, state, failure_reason, failure_message, process_id, created_at, "
    "lease_expires_at, attempt, last_seq, input_tokens, output_tokens, estimated) "
    "VALUES ('run_1', 'user_1', 'user_1', 'conv_1', 'completed', '', '', 'p', {at}, {at}, 1, 1, 0, 0, {no})",
}


@pytest.fixture
def empty_url(databases: SqliteFiles | PostgresDatabases) -> Iterator[str]:
    with databases.empty() as url:
        yield url


def go_to(connection: Connection, revision: str) -> None:
    configuration = schema._configuration()
    configuration.attributes["connection"] = connection
    command.upgrade(configuration, revision)


def fill_as_before(connection: Connection) -> None:
    """Make the tables as they were without words, and put a conversation into them."""
    go_to(connection, "0002")
    is_sqlite = connection.dialect.name == "sqlite"
    at, no = ("1", "0") if is_sqlite else ("now()", "false")
    for table, row in ROWS.items():
        connection.exec_driver_sql(f"INSERT INTO {table} {row.format(at=at, no=no)}")
    insert = text(
        "INSERT INTO messages (id, owner_id, conversation_id, run_id, role, text_sha256, model, provider, parts, "
        f"created_at, position) VALUES (:id, 'user_1', 'conv_1', 'run_1', 'user', '', '', '', :parts, {at}, :position)"
    )
    for position in range(1, COUNT + 1):
        parts = json.dumps([{"text": f"wörd{position} "}, {"text": "ö"}])
        connection.execute(insert, {"id": f"msg_{position:04}", "parts": parts, "position": position})


async def test_what_was_stored_before_is_found_after_the_migration(empty_url: str) -> None:
    await asyncio.to_thread(schema._in_own_loop, empty_url, fill_as_before)
    await schema.migrate(empty_url)
    database = Database(empty_url)
    async with SqlStorage(database).read() as tx:
        for position in (1, 500, 501, 700):
            found = await tx.search.messages(OWNER, parse_query(f'"WORD{position} o"'), MessageFilter(), PageRequest())
            assert [message.index for message in found.items] == [position]
        whole = await tx.search.messages(OWNER, parse_query("wor*"), MessageFilter(), PageRequest(size=1000))
        assert [message.index for message in whole.items] == list(range(COUNT, 0, -1))
        found_conversations = await tx.search.conversations(OWNER, parse_query("garten old"), None, PageRequest())
        listed = await tx.conversations.list(OWNER, ConversationFilter(), PageRequest())
        assert found_conversations.items == listed.items
    async with database.reading() as statements:
        sizes = await statements.rows(text("SELECT DISTINCT size FROM messages WHERE position IN (1, 700) ORDER BY 1"))
        assert [row.size for row in sizes] == [9, 11]
        assert (await statements.rows(text("SELECT size FROM conversations")))[0].size == 14 + 3 + 2 + 1 + 2
    await database.close()


def test_an_index_is_asked_for_words_behind_their_owners_tag() -> None:
    query = parse_query('Green "the gard"* -house')
    tag = tag_of(OWNER)
    assert (len(tag), tag.isalnum(), tag == tag.lower()) == (8, True, True)
    assert tag != tag_of("user_2")
    assert index_query(OWNER, query, "postgresql") == f"'{tag}green' & '{tag}the' & '{tag}gard':*"
    assert index_query(OWNER, query, "sqlite") == f'"{tag}green" AND "{tag}the" AND "{tag}gard"*'
