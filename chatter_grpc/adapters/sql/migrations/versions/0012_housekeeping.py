"""What finds rows that have had their time, and lets go of rows that others still name."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

ONE = "uq_runs_active_housekeeping"
OWN = sa.text("kind = 'housekeeping' AND state IN ('pending', 'running')")
# Of each index its table, its columns, and the condition of the rows that are in it, if it is not for all.
INDEXES = (
    ("ix_conversations_purge_at", "conversations", ["purge_at"], "purge_at IS NOT NULL"),
    ("ix_conversation_tags_conversation_id", "conversation_tags", ["conversation_id"], None),
    ("ix_messages_deleted_at", "messages", ["deleted_at"], "deleted_at IS NOT NULL"),
    ("ix_runs_conversation_id", "runs", ["conversation_id"], None),
    ("ix_sessions_expires_at", "sessions", ["expires_at"], None),
    ("ix_sessions_revoked_at", "sessions", ["revoked_at"], "revoked_at IS NOT NULL"),
    ("ix_refresh_tokens_expires_at", "refresh_tokens", ["expires_at"], None),
    ("ix_refresh_tokens_successor_id", "refresh_tokens", ["successor_id"], "successor_id IS NOT NULL"),
    ("ix_message_counts_day", "message_counts", ["day"], None),
    ("ix_owner_turns_claimed_at", "owner_turns", ["claimed_at"], None),
)
# A copy in a fork outlives the run of its original; and whoever adds a message has seen the conversation's row.
LOOSENED: dict[str, tuple[str, dict[str, Any]]] = {
    "run_id": ("runs", {"deferrable": True, "initially": "DEFERRED"}),
    "conversation_id": ("conversations", {}),
}


# A run for each that copied messages name and that is gone.
RESTORED = """
INSERT INTO runs (id, owner_id, actor_id, conversation_id, kind, state, created_at, finished_at, attempt, last_seq,
    failure_reason, failure_message, process_id, lease_expires_at, input_tokens, output_tokens, estimated)
SELECT messages.run_id, owners.id, owners.user_id, min(messages.conversation_id), 'plain', 'completed',
    min(messages.created_at), min(messages.created_at), 1, 0, '', '', '', min(messages.created_at), 0, 0, false
FROM messages JOIN owners ON owners.id = messages.owner_id
WHERE NOT EXISTS (SELECT 1 FROM runs WHERE runs.id = messages.run_id)
GROUP BY messages.run_id, owners.id, owners.user_id
"""
OWN_RUNS = "SELECT id FROM runs WHERE kind = 'housekeeping'"


def upgrade() -> None:
    with op.batch_alter_table("messages") as messages:
        for column in LOOSENED:
            messages.drop_constraint(f"fk_messages_{column}", type_="foreignkey")
    for name, table, columns, condition in INDEXES:
        where = None if condition is None else sa.text(condition)
        op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
    op.create_index(
        "uq_runs_active_housekeeping", "runs", ["kind"], unique=True, sqlite_where=OWN, postgresql_where=OWN
    )


def downgrade() -> None:
    op.drop_index(ONE, "runs")
    for name, table, _, _ in reversed(INDEXES):
        op.drop_index(name, table)
    # An older version knows neither this kind of run nor that the account is nobody's.
    for table in ("run_log", "run_inputs"):
        op.execute(f"DELETE FROM {table} WHERE run_id IN ({OWN_RUNS})")  # noqa: S608 - names of our own
    op.execute("DELETE FROM runs WHERE kind = 'housekeeping'")
    op.execute("DELETE FROM owners WHERE id = 'user_system'")
    op.execute("DELETE FROM users WHERE id = 'user_system'")
    op.execute(RESTORED)
    with op.batch_alter_table("messages") as messages:
        for column, (target, options) in LOOSENED.items():
            messages.create_foreign_key(f"fk_messages_{column}", target, [column], ["id"], **options)
