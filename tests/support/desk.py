"""Callers without a session, and the use-cases of conversations with what a test looks at."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime

from chatter_grpc.core.callers import Caller
from chatter_grpc.core.conversation_service import Conversations
from chatter_grpc.core.ids import USER, new_id
from chatter_grpc.core.storage import Storage
from chatter_grpc.core.users import User, UserRole, UserState


@dataclass(slots=True)
class Desk:
    """The use-cases and the runs that they asked to cancel."""

    conversations: Conversations
    cancelled: list[Collection[str]] = field(default_factory=list)


async def add_caller(storage: Storage, name: str) -> Caller:
    user = User(
        id=new_id(USER),
        username=name,
        email=f"{name}@example.org",
        display_name="",
        role=UserRole.MEMBER,
        state=UserState.ACTIVE,
        password_hash=None,
        created_at=datetime(2026, 11, 22, 9, tzinfo=UTC),
    )
    async with storage.write() as tx:
        await tx.users.add(user)
    return Caller(actor_id=user.id, owner_id=user.id, session_id="sess_1")
