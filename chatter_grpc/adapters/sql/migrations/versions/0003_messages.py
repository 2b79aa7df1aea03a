"""Search, ratings and deletion of messages."""

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from chatter_grpc.adapters.sql.columns import AnyText
from chatter_grpc.adapters.sql.words import tag_of, written
from chatter_grpc.core.search_words import words_of

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
MOMENT = sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
BATCH = 500
# A word is indexed behind its owner's tag. It is the same on both databases, and in the triggers of one.
TAGGED = "ltrim(replace(rtrim({row}words, ' '), ' ', ' ' || {row}tag), ' ')"


def upgrade() -> None:
    for table in ("conversations", "messages"):
        op.add_column(table, sa.Column("size", sa.BigInteger(), nullable=False, server_default="0"))
    for name in ("copied_from", "rating_comment"):
        op.add_column("messages", sa.Column(name, TEXT, nullable=True))
    op.add_column("messages", sa.Column("rating", sa.BigInteger(), nullable=True))
    for name in ("rated_at", "deleted_at"):
        op.add_column("messages", sa.Column(name, MOMENT, nullable=True))
    op.create_table(
        "message_words",
        sa.Column("id", SERIAL, nullable=False),
        *(sa.Column(name, TEXT, nullable=False) for name in ("message_id", "owner_id", "conversation_id", "role")),
        sa.Column("size", sa.BigInteger(), nullable=False),
        *(sa.Column(name, TEXT, nullable=False) for name in ("tag", "words")),
        sa.PrimaryKeyConstraint("id"),
        sa.ForeignKeyConstraint(["message_id"], ["messages.id"]),
        sa.UniqueConstraint("message_id"),
    )
    op.create_table(
        "conversation_words",
        sa.Column("id", SERIAL, nullable=False),
        *(sa.Column(name, TEXT, nullable=False) for name in ("conversation_id", "owner_id", "tag", "title", "words")),
        sa.PrimaryKeyConstraint("id"),
        sa.ForeignKeyConstraint(["conversation_id"], ["conversations.id"]),
        sa.UniqueConstraint("conversation_id"),
    )
    for kind in ("message", "conversation"):
        if op.get_bind().dialect.name == "sqlite":
            index_on_sqlite(kind)
        else:
            index_on_postgres(kind)
    connection = op.get_bind()
    index_conversations(connection)
    index_messages(connection)


def index_on_sqlite(kind: str) -> None:
    """Make an index of words, and keep it in step. Whoever makes the table anew has to make the triggers anew."""
    table, index = f"{kind}_words", f"{kind}_terms"
    kept = "content = '', columnsize = 0, detail = none, tokenize = 'ascii'"
    op.execute(f"CREATE VIRTUAL TABLE {index} USING fts5(terms, {kept})")
    put = f"INSERT INTO {index} (rowid, terms) VALUES (new.id, {TAGGED.format(row='new.')});"  # noqa: S608 - names of our own
    take = f"INSERT INTO {index} ({index}, rowid, terms) VALUES ('delete', old.id, {TAGGED.format(row='old.')});"  # noqa: S608 - names of our own
    op.execute(f"CREATE TRIGGER {table}_added AFTER INSERT ON {table} BEGIN {put} END")
    op.execute(f"CREATE TRIGGER {table}_removed AFTER DELETE ON {table} BEGIN {take} END")
    op.execute(
        f"CREATE TRIGGER {table}_changed AFTER UPDATE OF words ON {table} WHEN old.words <> new.words "
        f"BEGIN {take} {put} END"
    )


def index_on_postgres(kind: str) -> None:
    """Make an index of words; each change goes into it at once, so that no search has to look through what waits."""
    table = f"{kind}_words"
    terms = f"array_to_tsvector(string_to_array({TAGGED.format(row='')}, ' '))"
    op.execute(f"ALTER TABLE {table} ADD COLUMN terms tsvector GENERATED ALWAYS AS ({terms}) STORED")
    op.execute(f"CREATE INDEX ix_{table}_terms ON {table} USING gin (terms) WITH (fastupdate = off)")


def batches(connection: sa.Connection, table: sa.TableClause) -> Iterator[Sequence[sa.Row[Any]]]:
    """Yield all rows of a table, some at a time."""
    last = ""
    while rows := connection.execute(
        sa.select(table).where(table.c.id > sa.literal(last, TEXT)).order_by(table.c.id).limit(BATCH)
    ).all():
        yield rows
        last = rows[-1].id


def index_conversations(connection: sa.Connection) -> None:
    names = ("id", "owner_id")
    table = sa.table(
        "conversations",
        *(sa.column(name, TEXT) for name in names),
        *(sa.column(name, AnyText()) for name in ("title", "description")),
        *(sa.column(name, sa.JSON()) for name in ("settings", "tags", "metadata")),
        sa.column("size", sa.BigInteger()),
    )
    words = sa.table(
        "conversation_words",
        *(sa.column(name, TEXT) for name in ("conversation_id", "owner_id", "tag", "title", "words")),
    )
    for rows in batches(connection, table):
        connection.execute(
            sa.insert(words),
            [
                {
                    "conversation_id": row.id,
                    "owner_id": row.owner_id,
                    "tag": tag_of(row.owner_id),
                    "title": written(words_of(row.title)),
                    "words": written(words_of(row.title)) + written(words_of(row.description)),
                }
                for row in rows
            ],
        )
        set_sizes(connection, table, {row.id: size_of_conversation(row) for row in rows})


def size_of_conversation(row: Any) -> int:
    prompt = row.settings.get("system_prompt") or ""
    texts = (row.title, row.description, prompt, *row.tags, *row.metadata.keys(), *row.metadata.values())
    return sum(len(text.encode()) for text in texts)


def index_messages(connection: sa.Connection) -> None:
    names = ("id", "owner_id", "conversation_id", "role")
    table = sa.table(
        "messages",
        *(sa.column(name, TEXT) for name in names),
        sa.column("parts", sa.JSON()),
        sa.column("size", sa.BigInteger()),
    )
    words = sa.table(
        "message_words",
        *(sa.column(name, TEXT) for name in ("message_id", "owner_id", "conversation_id", "role", "tag", "words")),
        sa.column("size", sa.BigInteger()),
    )
    for rows in batches(connection, table):
        texts = {row.id: "".join(part["text"] for part in row.parts) for row in rows}
        connection.execute(
            sa.insert(words),
            [
                {
                    "message_id": row.id,
                    "owner_id": row.owner_id,
                    "conversation_id": row.conversation_id,
                    "role": row.role,
                    "size": len(texts[row.id].encode()),
                    "tag": tag_of(row.owner_id),
                    "words": written(words_of(texts[row.id])),
                }
                for row in rows
            ],
        )
        set_sizes(connection, table, {each: len(text.encode()) for each, text in texts.items()})


def set_sizes(connection: sa.Connection, table: sa.TableClause, sizes: dict[str, int]) -> None:
    statement = (
        sa.update(table).where(table.c.id == sa.bindparam("row_id", type_=TEXT)).values(size=sa.bindparam("bytes"))
    )
    connection.execute(statement, [{"row_id": each, "bytes": size} for each, size in sizes.items()])


def downgrade() -> None:
    for kind in ("message", "conversation"):
        op.drop_table(f"{kind}_words")
        if op.get_bind().dialect.name == "sqlite":
            op.drop_table(f"{kind}_terms")
    # A message that was deleted stays gone: an older version would show it again.
    op.execute("DELETE FROM messages WHERE deleted_at IS NOT NULL")
    for name in ("deleted_at", "rated_at", "rating_comment", "rating", "copied_from", "size"):
        op.drop_column("messages", name)
    op.drop_column("conversations", "size")
