"""What a caller may do with stored messages: list and read them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from chatter_grpc.core.callers import Caller
from chatter_grpc.core.messages import Message
from chatter_grpc.core.pages import Page, PageRequest
from chatter_grpc.core.storage import Storage

# A page ends before its texts exceed this, in bytes of UTF-8: stock clients take answers of up to 4 MiB.
PAGE_BYTES: Final = 2 * 1024 * 1024


class Messages:
    """The use-cases of stored messages."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def list(
        self, caller: Caller, conversation_id: str, page: PageRequest, *, newest_first: bool
    ) -> Page[Message]:
        """Return one page of a conversation's messages by index; raises ``ConversationNotFound``.

        It holds at least one message where there is one, and fewer than asked for where their texts are long.
        """
        owner_id = caller.owner_id
        async with self._storage.read() as tx:
            await tx.conversations.get(owner_id, conversation_id)
            found = await tx.messages.list(owner_id, conversation_id, page, newest_first=newest_first)
            fitting = count_fitting(found.items)
            if fitting == len(found.items):
                return found
            shorter = replace(page, size=fitting)
            return await tx.messages.list(owner_id, conversation_id, shorter, newest_first=newest_first)

    async def get(self, caller: Caller, message_id: str) -> Message:
        """Return one of the caller's messages; raises ``MessageNotFound``."""
        async with self._storage.read() as tx:
            return await tx.messages.get(caller.owner_id, message_id)


def count_fitting(messages: Sequence[Message]) -> int:
    """Return how many of the first messages make up a page."""
    size = 0
    for count, message in enumerate(messages):
        size += len(message.text.encode())
        if size > PAGE_BYTES and count:
            return count
    return len(messages)
