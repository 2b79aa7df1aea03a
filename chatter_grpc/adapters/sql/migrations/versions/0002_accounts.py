"""What administrators set on accounts, and the audit log."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
MOMENT = sa.BigInteger().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")

ON_USERS = "ix_users_created_at_id"
ON_AUDIT = (("at", "id"), ("actor_id", "at", "id"), ("resource_id", "at", "id"))


def upgrade() -> None:
    op.add_column("users", sa.Column("messages_per_day", sa.BigInteger(), nullable=True))
    op.add_column("users", sa.Column("messages_per_month", sa.BigInteger(), nullable=True))
    op.add_column("users", sa.Column("version", sa.BigInteger(), nullable=False, server_default=sa.text("1")))
    op.create_index(op.f(ON_USERS), "users", ["created_at", "id"])
    texts = ("id", "owner_id", "actor_id", "method", "resource_kind", "resource_id", "outcome", "call_id", "address")
    op.create_table(
        "audit_log",
        *(sa.Column(name, TEXT, nullable=False) for name in texts),
        sa.Column("at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    for names in ON_AUDIT:
        op.create_index(op.f("_".join(("ix", "audit_log", *names))), "audit_log", list(names))


def downgrade() -> None:
    op.drop_table("audit_log")
    op.drop_index(op.f(ON_USERS), "users")
    for name in ("version", "messages_per_month", "messages_per_day"):
        op.drop_column("users", name)
