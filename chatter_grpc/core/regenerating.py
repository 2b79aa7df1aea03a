"""Regenerating an answer: finds what was asked last in a conversation, so that another run answers it."""

from dataclasses import dataclass
from datetime import datetime

from chatter_grpc.core.errors import MessageNotFound, MessageNotLast
from chatter_grpc.core.messages import Message
from chatter_grpc.core.starting import Start
from chatter_grpc.core.starts import Held
from chatter_grpc.core.storage import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Regenerate(Start):
    """A message of the exchange to repeat, the question or an answer to it, and how it is to be answered."""

    message_id: str


@dataclass(frozen=True, slots=True)
class AskedBefore:
    """The ``Question`` of the last exchange, which the message is part of."""

    message_id: str

    async def conversation_id(self, tx: Transaction, owner_id: str) -> str:
        """See ``Question``."""
        return (await tx.messages.get(owner_id, self.message_id)).conversation_id

    async def ask(self, tx: Transaction, held: Held, run_id: str, now: datetime) -> Message:
        """See ``Question``."""
        conversation = held.conversation
        # Read again, now that the conversation is held: it may have been deleted in between.
        named = await tx.messages.get(conversation.owner_id, self.message_id)
        question = await tx.messages.last_question(conversation.owner_id, conversation.id)
        if question is None:
            raise MessageNotFound(message_id=self.message_id)
        if named.index < question.index:
            raise MessageNotLast(message_id=self.message_id, last_message_id=question.id)
        return question
