"""The first tables: identity, conversations, runs and their logs."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
MOMENT = sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ACTIVE = sa.text("state = 'running'")


def columns(kind: Any, *names: str, nullable: bool = False) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, nullable=nullable) for name in names]


def key(*names: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*names)


def refers(column: str, target: str, **options: Any) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [target], **options)


def usage_columns() -> list[sa.Column[Any]]:
    return [
        *columns(sa.BigInteger(), "input_tokens", "output_tokens"),
        *columns(sa.BigInteger(), "cost_micros", nullable=True),
        *columns(sa.Boolean(), "estimated"),
    ]


def index(table: str, *names: str) -> None:
    op.create_index(op.f("_".join(("ix", table, *names))), table, list(names))


def index_active(name: str, column: str, *, unique: bool = False) -> None:
    op.create_index(name, "runs", [column], unique=unique, sqlite_where=ACTIVE, postgresql_where=ACTIVE)


def upgrade() -> None:
    create_accounts()
    create_credentials()
    create_requests()
    create_conversations()
    create_runs()
    create_messages()


def create_accounts() -> None:
    op.create_table(
        "users",
        *columns(TEXT, "id", "username", "username_key", "email", "display_name", "role", "state"),
        *columns(TEXT, "email_key", "password_hash", nullable=True),
        *columns(MOMENT, "created_at"),
        *columns(MOMENT, "last_login_at", nullable=True),
        key("id"),
        sa.UniqueConstraint("username_key"),
        sa.UniqueConstraint("email_key"),
    )
    op.create_table(
        "owners",
        *columns(TEXT, "id", "user_id", "subject"),
        *columns(MOMENT, "created_at"),
        key("id"),
        refers("user_id", "users.id"),
        sa.UniqueConstraint("user_id", "subject"),
    )


def create_credentials() -> None:
    op.create_table(
        "sessions",
        *columns(TEXT, "id", "user_id"),
        *columns(MOMENT, "created_at", "expires_at"),
        *columns(MOMENT, "revoked_at", nullable=True),
        key("id"),
        refers("user_id", "users.id"),
    )
    index("sessions", "user_id")
    op.create_table(
        "refresh_tokens",
        *columns(TEXT, "id", "session_id", "kid"),
        *columns(MOMENT, "issued_at", "expires_at"),
        *columns(MOMENT, "rotated_at", nullable=True),
        *columns(TEXT, "successor_id", nullable=True),
        key("id"),
        refers("session_id", "sessions.id"),
        refers("successor_id", "refresh_tokens.id"),
    )
    index("refresh_tokens", "session_id")
    op.create_table(
        "api_keys",
        *columns(TEXT, "id", "user_id", "name", "prefix"),
        *columns(sa.LargeBinary(), "key_hash"),
        *columns(sa.JSON(), "scopes"),
        *columns(MOMENT, "created_at"),
        *columns(MOMENT, "expires_at", "revoked_at", nullable=True),
        key("id"),
        refers("user_id", "users.id"),
        sa.UniqueConstraint("prefix"),
    )
    index("api_keys", "user_id", "created_at", "id")
    op.create_table(
        "signing_keys",
        *columns(TEXT, "kid"),
        *columns(sa.LargeBinary(), "public", "sealed_private"),
        *columns(MOMENT, "created_at"),
        *columns(MOMENT, "retired_at", nullable=True),
        key("kid"),
    )
    op.create_table(
        "revocations", *columns(SERIAL, "id"), *columns(TEXT, "kind", "target_id"), *columns(MOMENT, "at"), key("id")
    )
    index("revocations", "at")


def create_requests() -> None:
    op.create_table(
        "requests",
        *columns(TEXT, "owner_id", "method", "request_id"),
        *columns(sa.LargeBinary(), "payload_hash"),
        *columns(TEXT, "resource_id"),
        *columns(MOMENT, "expires_at"),
        key("owner_id", "method", "request_id"),
        refers("owner_id", "owners.id"),
    )
    index("requests", "expires_at")


def create_conversations() -> None:
    op.create_table(
        "conversations",
        *columns(TEXT, "id", "owner_id", "title", "description", "status"),
        *columns(sa.JSON(), "settings", "memory", "tags", "metadata"),
        *columns(MOMENT, "created_at", "updated_at", "active_at"),
        *columns(MOMENT, "last_message_at", "deleted_at", "purge_at", nullable=True),
        *columns(sa.BigInteger(), "version", "message_count", "last_index"),
        *usage_columns(),
        key("id"),
        refers("owner_id", "owners.id"),
    )
    index("conversations", "owner_id", "active_at", "id")
    index("conversations", "owner_id", "created_at", "id")
    index("conversations", "owner_id", "title", "created_at", "id")
    op.create_table(
        "conversation_tags",
        *columns(TEXT, "owner_id", "conversation_id", "tag"),
        key("owner_id", "conversation_id", "tag"),
        refers("conversation_id", "conversations.id"),
    )
    index("conversation_tags", "owner_id", "tag", "conversation_id")


def create_runs() -> None:
    op.create_table(
        "runs",
        *columns(TEXT, "id", "owner_id", "actor_id", "state", "failure_reason", "failure_message", "process_id"),
        *columns(TEXT, "conversation_id", "kind", "workflow_id", nullable=True),
        *columns(MOMENT, "created_at", "lease_expires_at"),
        *columns(MOMENT, "cancel_requested_at", "finished_at", nullable=True),
        *columns(sa.BigInteger(), "attempt", "last_seq"),
        *usage_columns(),
        key("id"),
        refers("owner_id", "owners.id"),
        refers("actor_id", "users.id"),
        refers("conversation_id", "conversations.id"),
        # Room for new versions of rows beside the old ones: each commit of a run's log writes its row.
        postgresql_with={"fillfactor": 70},
    )
    index_active("uq_runs_active_conversation", "conversation_id", unique=True)
    index_active("ix_runs_active_owner", "owner_id")
    index_active("ix_runs_active_process", "process_id")
    index("runs", "owner_id", "created_at", "id")
    index("runs", "owner_id", "conversation_id", "created_at", "id")
    op.create_table(
        "run_inputs", *columns(TEXT, "run_id"), *columns(sa.JSON(), "input"), key("run_id"), refers("run_id", "runs.id")
    )
    op.create_table(
        "run_log",
        *columns(TEXT, "run_id"),
        *columns(sa.BigInteger(), "attempt", "last_seq", "first_seq", "size"),
        *columns(sa.LargeBinary(), "events"),
        key("run_id", "attempt", "last_seq"),
        sqlite_with_rowid=False,
    )


def create_messages() -> None:
    op.create_table(
        "messages",
        *columns(TEXT, "id", "owner_id", "conversation_id", "run_id", "role", "text_sha256", "model", "provider"),
        *columns(TEXT, "finish_reason", nullable=True),
        *columns(sa.JSON(), "parts"),
        *columns(MOMENT, "created_at"),
        *columns(sa.BigInteger(), "position"),
        *columns(sa.BigInteger(), "input_tokens", "output_tokens", "cost_micros", "latency_ms", nullable=True),
        *columns(sa.Boolean(), "estimated", nullable=True),
        key("id"),
        refers("owner_id", "owners.id"),
        refers("conversation_id", "conversations.id"),
        refers("run_id", "runs.id", deferrable=True, initially="DEFERRED"),
        sa.UniqueConstraint("owner_id", "conversation_id", "position"),
    )


def downgrade() -> None:
    for table in ("messages", "run_log", "run_inputs", "runs", "conversation_tags", "conversations", "requests"):
        op.drop_table(table)
    for table in ("revocations", "signing_keys", "api_keys", "refresh_tokens", "sessions", "owners", "users"):
        op.drop_table(table)
