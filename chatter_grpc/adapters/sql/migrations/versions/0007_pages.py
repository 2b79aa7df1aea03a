"""An index that knows what fits on a page of messages, without a look at the messages."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

NAME = "ix_messages_page"
COLUMNS = ["owner_id", "conversation_id", "position", "deleted_at", "replaced_by_run_id", "size", "id"]


def upgrade() -> None:
    op.create_index(NAME, "messages", COLUMNS)


def downgrade() -> None:
    op.drop_index(NAME, "messages")
