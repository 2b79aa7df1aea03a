"""Checkpoints of runs."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "checkpoints",
        *(sa.Column(name, TEXT, nullable=False) for name in ("run_id", "namespace", "id", "parent_id")),
        *(sa.Column(name, sa.LargeBinary(), nullable=False) for name in ("body", "about")),
        sa.PrimaryKeyConstraint("run_id", "namespace", "id"),
    )
    op.create_table(
        "checkpoint_values",
        *(sa.Column(name, TEXT, nullable=False) for name in ("run_id", "namespace", "channel", "version")),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "namespace", "channel", "version"),
    )
    op.create_table(
        "checkpoint_writes",
        *(sa.Column(name, TEXT, nullable=False) for name in ("run_id", "namespace", "checkpoint_id", "task_id")),
        sa.Column("position", sa.BigInteger(), nullable=False),
        *(sa.Column(name, TEXT, nullable=False) for name in ("task_path", "channel")),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "namespace", "checkpoint_id", "task_id", "position"),
    )


def downgrade() -> None:
    for name in ("checkpoint_writes", "checkpoint_values", "checkpoints"):
        op.drop_table(name)
