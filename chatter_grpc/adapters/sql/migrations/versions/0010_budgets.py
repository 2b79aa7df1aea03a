"""Budgets of runs, and what their model calls reserve."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
BOUNDS = ("budget_tokens", "budget_cost_micros", "budget_milliseconds")


def upgrade() -> None:
    for name in BOUNDS:
        op.add_column("runs", sa.Column(name, sa.BigInteger(), nullable=True))
    op.create_table(
        "reservations",
        *(sa.Column(name, TEXT, nullable=False) for name in ("run_id", "message_id", "model")),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("attempt", "input_tokens", "output_tokens")),
        *(sa.Column(name, sa.BigInteger(), nullable=True) for name in ("cost_micros", "input_price", "output_price")),
        *(sa.Column(name, sa.Boolean(), nullable=False) for name in ("estimated", "settled")),
        sa.PrimaryKeyConstraint("run_id", "message_id"),
    )


def downgrade() -> None:
    op.drop_table("reservations")
    for name in BOUNDS:
        op.drop_column("runs", name)
