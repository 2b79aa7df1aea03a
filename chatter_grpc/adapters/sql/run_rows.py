"""The tables of runs."""

from datetime import datetime
from typing import Final

from sqlalchemy import ForeignKey, Index, false, text
from sqlalchemy.orm import Mapped, mapped_column

from chatter_grpc.adapters.sql.columns import Document
from chatter_grpc.adapters.sql.rows import Stored, Used
from chatter_grpc.core.runs.run import RunInput, RunState, WorkflowKind

ACTIVE: Final = text(f"state IN ('{RunState.PENDING}', '{RunState.RUNNING}')")
AT_WORK: Final = text(f"state = '{RunState.RUNNING}'")
_PENDING: Final = text(f"state = '{RunState.PENDING}'")
_OWN: Final = text(f"kind = '{WorkflowKind.HOUSEKEEPING}' AND {ACTIVE}")
# Those whose logs can be made smaller.
UNCOMPACTED: Final = text("finished_at IS NOT NULL AND compacted_at IS NULL")


class RunRow(Used, Stored):
    """A run's record. Every commit of its log writes it, so what is large or indexed for long is not in it.

    PostgreSQL writes the new version of a row beside the old one without touching an index where the page has room.
    """

    __tablename__ = "runs"
    __table_args__ = (
        Index(
            "uq_runs_active_conversation",
            "conversation_id",
            unique=True,
            sqlite_where=ACTIVE,
            postgresql_where=ACTIVE,
        ),
        Index("ix_runs_active_owner", "owner_id", "state", sqlite_where=ACTIVE, postgresql_where=ACTIVE),
        # There is one that keeps house, whoever's process it is in.
        Index("uq_runs_active_housekeeping", "kind", unique=True, sqlite_where=_OWN, postgresql_where=_OWN),
        Index("ix_runs_active_process", "process_id", sqlite_where=AT_WORK, postgresql_where=AT_WORK),
        Index("ix_runs_pending", "owner_id", "created_at", "id", sqlite_where=_PENDING, postgresql_where=_PENDING),
        Index("ix_runs_uncompacted", "finished_at", "id", sqlite_where=UNCOMPACTED, postgresql_where=UNCOMPACTED),
        Index(None, "owner_id", "created_at", "id"),
        Index(None, "owner_id", "conversation_id", "created_at", "id"),
        {"postgresql_with": {"fillfactor": 70}},
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    owner_id: Mapped[str] = mapped_column(ForeignKey("owners.id"))
    actor_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    conversation_id: Mapped[str | None] = mapped_column(ForeignKey("conversations.id"), index=True)
    kind: Mapped[str | None]
    workflow_id: Mapped[str | None]
    state: Mapped[str]
    created_at: Mapped[datetime]
    attempt: Mapped[int]
    last_seq: Mapped[int]
    failure_reason: Mapped[str]
    failure_message: Mapped[str]
    cancel_requested_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    compacted_at: Mapped[datetime | None]
    # Empty while it is pending, as nobody works on it; its lease means nothing then.
    process_id: Mapped[str]
    lease_expires_at: Mapped[datetime]
    # Attempts that were lost one after the other, none of which committed a finished step.
    losses: Mapped[int] = mapped_column(server_default=text("0"))
    # The last attempt that did commit one; 0 where none has.
    progress_attempt: Mapped[int] = mapped_column(server_default=text("0"))
    # Whether its last attempt gave it back, so that no loss is counted.
    released: Mapped[bool] = mapped_column(server_default=false())
    # When its first attempt began, by the database's clock.
    first_leased_at: Mapped[datetime | None]
    # No foreign key: a message that was answered may be deleted for good before the run that answered it.
    user_message_id: Mapped[str] = mapped_column(server_default=text("''"))
    regeneration: Mapped[bool] = mapped_column(server_default=false())
    budget_tokens: Mapped[int | None]
    budget_cost_micros: Mapped[int | None]
    budget_milliseconds: Mapped[int | None]


class RunInputRow(Stored):
    """What a run begins with, written once and read by none but an attempt: it may be as large as a message."""

    __tablename__ = "run_inputs"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    input: Mapped[RunInput] = mapped_column(Document(RunInput))
