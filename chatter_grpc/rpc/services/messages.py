"""The half of ChatService that keeps messages."""

from typing import Any

import grpc

from chatter_grpc._gen.chatter.v1 import chat_service_pb2 as pb
from chatter_grpc.core.message_service import Messages
from chatter_grpc.rpc.call import current_call, current_caller
from chatter_grpc.rpc.convert.messages import message_message
from chatter_grpc.rpc.page_tokens import PageTokenSigner

Context = grpc.aio.ServicerContext[Any, Any]


class MessageMethods:
    """Serves the RPCs on messages."""

    def __init__(self, messages: Messages, page_tokens: PageTokenSigner) -> None:
        self._messages = messages
        self._message_pages = page_tokens

    async def ListMessages(self, request: pb.ListMessagesRequest, context: Context) -> pb.ListMessagesResponse:
        """Read a page of messages."""
        call, caller = current_call(), current_caller()
        asked = self._message_pages.read(request, call.method, caller.owner_id)
        page = await self._messages.list(caller, request.conversation_id, asked, newest_first=request.newest_first)
        return pb.ListMessagesResponse(
            messages=map(message_message, page.items),
            next_page_token=self._message_pages.write(page.next, request, call.method, caller.owner_id),
        )

    async def GetMessage(self, request: pb.GetMessageRequest, context: Context) -> pb.GetMessageResponse:
        """Read a message."""
        found = await self._messages.get(current_caller(), request.message_id)
        return pb.GetMessageResponse(message=message_message(found))
