"""Forking: makes a conversation of the beginning of another one."""

from dataclasses import dataclass, replace
from typing import Final

from chatter_grpc.core.callers import Caller
from chatter_grpc.core.clock import Clock
from chatter_grpc.core.conversations import Conversation, ConversationStatus
from chatter_grpc.core.errors import ForkTooLarge
from chatter_grpc.core.ids import CONVERSATION, new_id
from chatter_grpc.core.requests import RequestKey, claim_request
from chatter_grpc.core.storage import Storage
from chatter_grpc.core.usage import Usage

MAX_MESSAGES: Final = 5_000
MAX_BYTES: Final = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """The last message to copy, and the new conversation's title, empty for the old one's."""

    message_id: str
    title: str = ""


class Forking:
    """The use-case that forks conversations."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage = storage
        self._clock = clock

    async def fork(self, caller: Caller, fork: Fork, key: RequestKey | None) -> Conversation:
        """Make the conversation, or return the one that the same request made before, as it is now.

        It is one transaction, whose number of statements does not depend on how much is copied. Raises
        ``MessageNotFound``, ``ForkTooLarge``, ``RequestIdReused`` and, on a repeat, ``ConversationNotFound``.
        """
        owner_id, now, new = caller.owner_id, self._clock(), new_id(CONVERSATION)
        async with self._storage.write() as tx:
            # Before what it copies is looked for: a repeat gets what was made, whatever became of the original.
            earlier = await claim_request(tx.requests, key, new, now)
            if earlier is not None:
                return await tx.conversations.get(owner_id, earlier)
            named = await tx.messages.get(owner_id, fork.message_id)
            original = await tx.conversations.lock(owner_id, named.conversation_id)
            # Read again, now that nobody else changes the conversation: it may have been deleted in between.
            last = await tx.messages.get(owner_id, named.id)
            # Who names an answer that was replaced goes on from that one.
            kept = last.run_id if last.replaced_by_run_id else ""
            extent = await tx.forks.measure(owner_id, original.id, last.index, kept_run_id=kept)
            if extent.messages > MAX_MESSAGES or extent.size_bytes > MAX_BYTES:
                raise ForkTooLarge(
                    messages=extent.messages,
                    max_messages=MAX_MESSAGES,
                    size_bytes=extent.size_bytes,
                    max_bytes=MAX_BYTES,
                )
            made = replace(
                original,
                id=new,
                title=fork.title or original.title,
                status=ConversationStatus.ACTIVE,
                created_at=now,
                updated_at=now,
                version=1,
                message_count=extent.messages,
                usage=Usage(),
                last_message_at=extent.last_message_at,
            )
            await tx.conversations.add(made, last_index=last.index)
            await tx.forks.copy(owner_id, original.id, last.index, made.id, kept_run_id=kept)
        return made
