"""What a caller may do with stored messages: list and read them."""

from chatter_grpc.core.callers import Caller
from chatter_grpc.core.images import with_data
from chatter_grpc.core.messages import Message
from chatter_grpc.core.pages import Page, PageRequest
from chatter_grpc.core.storage import Storage


class Messages:
    """The use-cases of stored messages."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def list(
        self,
        caller: Caller,
        conversation_id: str,
        page: PageRequest,
        *,
        newest_first: bool,
        include_replaced: bool = False,
    ) -> Page[Message]:
        """Return one page of a conversation's messages by index; raises ``ConversationNotFound``.

        Answers that were replaced are left out unless they are asked for.

        It holds at least one message where there is one, and fewer than asked for where their texts are long.
        """
        owner_id = caller.owner_id
        async with self._storage.read() as tx:
            await tx.conversations.get(owner_id, conversation_id)
            return await tx.messages.list(
                owner_id, conversation_id, page, newest_first=newest_first, include_replaced=include_replaced
            )

    async def get(self, caller: Caller, message_id: str) -> Message:
        """Return one of the caller's messages with the data of its images; raises ``MessageNotFound``."""
        async with self._storage.read() as tx:
            message = await tx.messages.get(caller.owner_id, message_id)
            if not message.images:
                return message
            found = await tx.images.read(caller.owner_id, (message.id,))
        return with_data(message, found.get(message.id, {}))
