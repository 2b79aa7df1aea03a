"""What is known of the attempts at a run: losses, progress, whether the last one gave it back, when the first began."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

MOMENT = sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    for name in ("losses", "progress_attempt"):
        op.add_column("runs", sa.Column(name, sa.BigInteger(), nullable=False, server_default=sa.text("0")))
    op.add_column("runs", sa.Column("released", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("runs", sa.Column("first_leased_at", MOMENT, nullable=True))
    # Only runs that are at work are ever asked when they began.
    op.execute("UPDATE runs SET first_leased_at = created_at WHERE state = 'running'")


def downgrade() -> None:
    for name in ("first_leased_at", "released", "progress_attempt", "losses"):
        op.drop_column("runs", name)
