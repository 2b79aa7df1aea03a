"""What a run starts from, and how it is held while it starts."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from chatter_grpc.core.conversations import Conversation
from chatter_grpc.core.requests import EarlierRequest, RequestKey
from chatter_grpc.core.users import User


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who has a run started, ``actor_id``, and whose it is to be."""

    actor_id: str
    owner_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The account that starts a run, the conversation with the index of its last message (0 for none), and the request.

    ``earlier`` is the request that holds the same key, ``None`` where this is the first.
    """

    account: User
    conversation: Conversation
    last_index: int
    earlier: EarlierRequest | None = None


class StartStore(Protocol):
    """Holds what runs start from, inside a transaction."""

    async def hold(self, asker: Asker, conversation_id: str, key: RequestKey, run_id: str, now: datetime) -> Held:
        """Hold the account of who asks, if it is active, and the owner's conversation, and claim the request.

        They are held in this order, until the transaction ends: see ``UserStore.hold_active``,
        ``ConversationStore.lock`` and ``RequestStore.claim``, of which this is all three at once. Raises
        ``AccountDisabled`` and ``ConversationNotFound``, with nothing claimed.
        """
        ...
