"""Detached runs and answers that replace others."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
MOMENT = sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
AT_WORK = sa.text("state = 'running'")
PENDING = sa.text("state = 'pending'")
ACTIVE = sa.text("state IN ('pending', 'running')")


def index_runs(name: str, columns: list[str], where: sa.TextClause, *, unique: bool = False) -> None:
    op.create_index(name, "runs", columns, unique=unique, sqlite_where=where, postgresql_where=where)


def upgrade() -> None:
    op.add_column("runs", sa.Column("user_message_id", TEXT, nullable=False, server_default=sa.text("''")))
    op.add_column("runs", sa.Column("regeneration", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("messages", sa.Column("replaced_by_run_id", TEXT, nullable=True))
    # Until now every run answered the message that it was started with.
    op.execute(
        "UPDATE runs SET user_message_id = messages.id "
        "FROM messages WHERE messages.run_id = runs.id AND messages.role = 'user'"
    )
    op.drop_index("uq_runs_active_conversation", "runs")
    op.drop_index("ix_runs_active_owner", "runs")
    index_runs("uq_runs_active_conversation", ["conversation_id"], ACTIVE, unique=True)
    index_runs("ix_runs_active_owner", ["owner_id", "state"], ACTIVE)
    index_runs("ix_runs_pending", ["owner_id", "created_at", "id"], PENDING)
    op.create_table(
        "owner_turns",
        sa.Column("owner_id", TEXT, nullable=False),
        sa.Column("claimed_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("owner_id"),
        sa.ForeignKeyConstraint(["owner_id"], ["owners.id"]),
    )


def downgrade() -> None:
    op.drop_table("owner_turns")
    # What waits cannot be told to a version that does not know of it.
    op.execute("UPDATE runs SET state = 'cancelled', finished_at = created_at WHERE state = 'pending'")
    for name in ("ix_runs_pending", "ix_runs_active_owner", "uq_runs_active_conversation"):
        op.drop_index(name, "runs")
    index_runs("uq_runs_active_conversation", ["conversation_id"], AT_WORK, unique=True)
    index_runs("ix_runs_active_owner", ["owner_id"], AT_WORK)
    # Answers that were replaced stand in their conversations again.
    op.drop_column("messages", "replaced_by_run_id")
    op.drop_column("runs", "regeneration")
    op.drop_column("runs", "user_message_id")
