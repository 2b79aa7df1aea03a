"""Sending a message, or the last one again: starts the run that answers it, at once or when there is room."""

from dataclasses import dataclass, replace
from datetime import datetime

from chatter_grpc.core.callers import Caller
from chatter_grpc.core.ids import MESSAGE, new_id
from chatter_grpc.core.messages import Message, Part, sha256_of, text_of
from chatter_grpc.core.models import Role
from chatter_grpc.core.regenerating import AskedBefore, Regenerate
from chatter_grpc.core.requests import RequestKey
from chatter_grpc.core.starting import Start, Starting
from chatter_grpc.core.starts import Held
from chatter_grpc.core.storage import Transaction
from chatter_grpc.core.usage import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Send(Start):
    """What to say, and how it is to be answered."""

    conversation_id: str
    parts: tuple[Part, ...]


class Sending:
    """The use-case that starts runs from messages."""

    def __init__(self, starting: Starting) -> None:
        self._starting = starting

    async def send(self, caller: Caller, send: Send, key: RequestKey) -> str:
        """Start a run that answers a new message and return its id; raises as ``Starting.start`` does."""
        return await self._starting.start(caller, send, _NewMessage(send), key)

    async def regenerate(self, caller: Caller, regenerate: Regenerate, key: RequestKey) -> str:
        """Start a run that answers the last message again and return its id.

        What was answered before is replaced when the run ends, if it stored an answer. Raises as ``Starting.start``
        does, ``MessageNotFound`` and ``MessageNotLast``.
        """
        return await self._starting.start(caller, regenerate, AskedBefore(regenerate.message_id), key)


@dataclass(frozen=True, slots=True)
class _NewMessage:
    """The ``Question`` that is asked for the first time."""

    send: Send

    async def conversation_id(self, tx: Transaction, owner_id: str) -> str:
        """See ``Question``."""
        return self.send.conversation_id

    async def ask(self, tx: Transaction, held: Held, run_id: str, now: datetime) -> Message:
        """See ``Question``."""
        conversation = held.conversation
        message = Message(
            id=new_id(MESSAGE),
            owner_id=conversation.owner_id,
            conversation_id=conversation.id,
            run_id=run_id,
            role=Role.USER,
            parts=self.send.parts,
            text_sha256=sha256_of(text_of(self.send.parts)),
            created_at=now,
        )
        index = await tx.messages.append(conversation.id, (message,), Usage(), after=held.last_index)
        await tx.images.add((message,))
        return replace(message, index=index)
