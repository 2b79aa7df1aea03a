"""What a caller may do to stored messages: delete and rate them."""

from dataclasses import replace

from chatter_grpc.core.audit import record
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.clock import Clock
from chatter_grpc.core.errors import FieldInvalid, FieldViolation, MessageBusy, MessageNotRatable
from chatter_grpc.core.messages import Message, Rating
from chatter_grpc.core.models import Role
from chatter_grpc.core.storage import Storage, Transaction


class MessageChanges:
    """The use-cases that change stored messages."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage = storage
        self._clock = clock

    async def delete(self, caller: Caller, message_id: str) -> None:
        """Delete a message; raises ``MessageNotFound`` (of one that is deleted already, too) and ``MessageBusy``."""
        owner_id, now = caller.owner_id, self._clock()
        async with self._storage.write() as tx:
            named = await tx.messages.get(owner_id, message_id)
            # Whoever starts a run holds the conversation as well: no run begins with the message in between.
            await tx.conversations.lock(owner_id, named.conversation_id)
            message = await tx.messages.get(owner_id, message_id)
            await _check_idle(tx, message)
            await tx.messages.remove(owner_id, message, now)
            await record(tx.audit, "message", message.id)

    async def rate(self, caller: Caller, message_id: str, value: int, comment: str) -> Message:
        """Rate an answer from 1 to 5, or take a rating back with 0, and return the message as it is now.

        Raises ``FieldInvalid``, ``MessageNotFound``, ``MessageNotRatable``.
        """
        if comment and not value:
            raise FieldInvalid([FieldViolation(field="comment", description="is only for a rating")])
        rating = Rating(value=value, comment=comment, rated_at=self._clock()) if value else None
        async with self._storage.write() as tx:
            message = await tx.messages.get(caller.owner_id, message_id)
            if message.role is not Role.ASSISTANT:
                raise MessageNotRatable(message_id=message_id)
            await tx.messages.rate(caller.owner_id, message_id, rating)
        return replace(message, rating=rating)


async def _check_idle(tx: Transaction, message: Message) -> None:
    """Raise ``MessageBusy`` where a run at work, or one that waits, answers the message."""
    for run in await tx.runs.active((message.owner_id,), message.conversation_id):
        # A run may answer a message that another one was started with.
        answers = (await tx.runs.input(message.owner_id, run.id)).user_message_id
        if message.id == answers or message.run_id == run.id:
            raise MessageBusy(message_id=message.id, run_id=run.id)
