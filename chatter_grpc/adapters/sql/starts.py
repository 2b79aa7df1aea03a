"""Holds what a run starts from."""

from datetime import datetime

from chatter_grpc.adapters.sql.conversations import LOCK, conversation_of
from chatter_grpc.adapters.sql.requests import CLAIM, SqlRequests, claim_values
from chatter_grpc.adapters.sql.statements import Asked, Statements
from chatter_grpc.adapters.sql.users import HOLD_ACTIVE, user_of
from chatter_grpc.core.errors import AccountDisabled, ConversationNotFound
from chatter_grpc.core.requests import RequestKey
from chatter_grpc.core.starts import Asker, Held


class SqlStarts:
    """Starts in one transaction."""

    def __init__(self, statements: Statements) -> None:
        self._sql = statements

    async def hold(self, asker: Asker, conversation_id: str, key: RequestKey, run_id: str, now: datetime) -> Held:
        """See ``StartStore``."""
        found = await self._sql.together(
            Asked(HOLD_ACTIVE, {"user_id": asker.actor_id}, needed=True),
            Asked(LOCK, {"owner": asker.owner_id, "conversation": conversation_id}, needed=True),
            Asked(CLAIM, claim_values(key, run_id, now)),
        )
        account = user_of(next(iter(found[0]), None))
        if account is None:
            raise AccountDisabled
        if not found[1]:
            raise ConversationNotFound(conversation_id=conversation_id)
        ((conversation,), claimed) = found[1:]
        return Held(
            account=account,
            conversation=conversation_of(conversation),
            last_index=conversation.last_index,
            earlier=None if claimed else await SqlRequests(self._sql).claim(key, run_id, now),
        )
