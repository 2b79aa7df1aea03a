"""Images in messages."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "message_images",
        *(sa.Column(name, TEXT, nullable=False) for name in ("owner_id", "message_id", "media_type", "sha256")),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("position", "size_bytes")),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("message_id", "position"),
        sa.ForeignKeyConstraint(["owner_id"], ["owners.id"]),
        sa.ForeignKeyConstraint(["message_id"], ["messages.id"], ondelete="CASCADE"),
    )


# An older version reads texts alone: what else the messages hold is lost with the images.
TEXTS_ALONE = {
    "sqlite": "(SELECT json_group_array(json(value)) FROM json_each(parts) WHERE json_type(value, '$.text') = 'text')",
    "postgresql": (
        "(SELECT coalesce(json_agg(part), '[]') FROM json_array_elements(parts) AS part "
        "WHERE part::text LIKE '{\"text\":%')"
    ),
}


def downgrade() -> None:
    texts = TEXTS_ALONE[op.get_bind().dialect.name]
    op.execute(f"UPDATE messages SET parts = {texts} WHERE id IN (SELECT message_id FROM message_images)")  # noqa: S608
    op.drop_table("message_images")
