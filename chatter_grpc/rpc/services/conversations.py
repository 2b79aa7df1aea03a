"""The half of ChatService that keeps conversations."""

from typing import Any

import grpc

from chatter_grpc._gen.chatter.v1 import chat_service_pb2 as pb
from chatter_grpc.core.conversation_service import Conversations, ConversationUpdate
from chatter_grpc.core.conversations import ConversationFilter
from chatter_grpc.core.errors import FieldInvalid, FieldViolation
from chatter_grpc.core.forking import Fork, Forking
from chatter_grpc.rpc.call import current_call, current_caller
from chatter_grpc.rpc.convert.conversations import (
    ORDER_OF,
    STATUS_OF,
    conversation_message,
    values_to_create,
    values_to_update,
)
from chatter_grpc.rpc.page_tokens import PageTokenSigner

Context = grpc.aio.ServicerContext[Any, Any]


class ConversationMethods:
    """Serves the RPCs on conversations."""

    def __init__(self, conversations: Conversations, forking: Forking, page_tokens: PageTokenSigner) -> None:
        self._conversations = conversations
        self._forking = forking
        self._conversation_pages = page_tokens

    async def CreateConversation(
        self, request: pb.CreateConversationRequest, context: Context
    ) -> pb.CreateConversationResponse:
        """Make a conversation."""
        call, caller = current_call(), current_caller()
        made = await self._conversations.create(caller, values_to_create(request), call.request_key)
        return pb.CreateConversationResponse(conversation=conversation_message(made))

    async def GetConversation(self, request: pb.GetConversationRequest, context: Context) -> pb.GetConversationResponse:
        """Read a conversation."""
        found = await self._conversations.get(current_caller(), request.conversation_id)
        return pb.GetConversationResponse(conversation=conversation_message(found))

    async def ListConversations(
        self, request: pb.ListConversationsRequest, context: Context
    ) -> pb.ListConversationsResponse:
        """Read a page of conversations."""
        call, caller = current_call(), current_caller()
        wanted = ConversationFilter(
            status=STATUS_OF.get(request.status), tag=request.tag, text=request.text, order=ORDER_OF[request.order]
        )
        asked = self._conversation_pages.read(request, call.method, caller.owner_id)
        page = await self._conversations.list(caller, wanted, asked)
        return pb.ListConversationsResponse(
            conversations=map(conversation_message, page.items),
            next_page_token=self._conversation_pages.write(page.next, request, call.method, caller.owner_id),
        )

    async def UpdateConversation(
        self, request: pb.UpdateConversationRequest, context: Context
    ) -> pb.UpdateConversationResponse:
        """Change a conversation."""
        if not request.conversation.id:
            raise FieldInvalid([FieldViolation(field="conversation.id", description="must be set")])
        update = ConversationUpdate(
            conversation_id=request.conversation.id,
            values=values_to_update(request.conversation),
            paths=tuple(request.update_mask.paths),
            etag=request.conversation.etag,
        )
        changed = await self._conversations.update(current_caller(), update, current_call().request_key)
        return pb.UpdateConversationResponse(conversation=conversation_message(changed))

    async def DeleteConversation(
        self, request: pb.DeleteConversationRequest, context: Context
    ) -> pb.DeleteConversationResponse:
        """Delete a conversation."""
        deleted = await self._conversations.delete(current_caller(), request.conversation_id, request.etag)
        return pb.DeleteConversationResponse(conversation=conversation_message(deleted))

    async def UndeleteConversation(
        self, request: pb.UndeleteConversationRequest, context: Context
    ) -> pb.UndeleteConversationResponse:
        """Bring a deleted conversation back."""
        restored = await self._conversations.undelete(current_caller(), request.conversation_id, request.etag)
        return pb.UndeleteConversationResponse(conversation=conversation_message(restored))

    async def ForkConversation(
        self, request: pb.ForkConversationRequest, context: Context
    ) -> pb.ForkConversationResponse:
        """Make a conversation of the beginning of another one."""
        fork = Fork(message_id=request.message_id, title=request.title)
        made = await self._forking.fork(current_caller(), fork, current_call().request_key)
        return pb.ForkConversationResponse(conversation=conversation_message(made))
