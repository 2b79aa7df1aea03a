"""When the log of an ended run was compacted, and what finds those that were not."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

MOMENT = sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
INDEX = "ix_runs_uncompacted"
UNCOMPACTED = sa.text("finished_at IS NOT NULL AND compacted_at IS NULL")


def upgrade() -> None:
    op.add_column("runs", sa.Column("compacted_at", MOMENT, nullable=True))
    op.create_index(INDEX, "runs", ["finished_at", "id"], sqlite_where=UNCOMPACTED, postgresql_where=UNCOMPACTED)


def downgrade() -> None:
    # An older version can read none of these logs, and what they were before is gone.
    op.execute("DELETE FROM run_log WHERE run_id IN (SELECT id FROM runs WHERE compacted_at IS NOT NULL)")
    op.drop_index(INDEX, "runs")
    op.drop_column("runs", "compacted_at")
