"""The part of ChatService that searches."""

from typing import Any

import grpc

from chatter_grpc._gen.chatter.v1 import chat_service_pb2 as pb
from chatter_grpc.core.search import MessageFilter
from chatter_grpc.core.searching import Searches
from chatter_grpc.rpc.call import current_call, current_caller
from chatter_grpc.rpc.convert.conversations import STATUS_OF, conversation_message
from chatter_grpc.rpc.convert.searches import ROLE_OF, match_message
from chatter_grpc.rpc.page_tokens import PageTokenSigner

Context = grpc.aio.ServicerContext[Any, Any]


class SearchMethods:
    """Serves the RPCs that search."""

    def __init__(self, searches: Searches, page_tokens: PageTokenSigner) -> None:
        self._searches = searches
        self._search_pages = page_tokens

    async def SearchConversations(
        self, request: pb.SearchConversationsRequest, context: Context
    ) -> pb.SearchConversationsResponse:
        """Find conversations by their words."""
        call, caller = current_call(), current_caller()
        asked = self._search_pages.read(request, call.method, caller.owner_id)
        page = await self._searches.conversations(caller, request.query, STATUS_OF.get(request.status), asked)
        return pb.SearchConversationsResponse(
            conversations=map(conversation_message, page.items),
            next_page_token=self._search_pages.write(page.next, request, call.method, caller.owner_id),
        )

    async def SearchMessages(self, request: pb.SearchMessagesRequest, context: Context) -> pb.SearchMessagesResponse:
        """Find messages by their words."""
        call, caller = current_call(), current_caller()
        wanted = MessageFilter(conversation_id=request.conversation_id, role=ROLE_OF.get(request.role))
        asked = self._search_pages.read(request, call.method, caller.owner_id)
        page = await self._searches.messages(caller, request.query, wanted, asked)
        return pb.SearchMessagesResponse(
            matches=map(match_message, page.items),
            next_page_token=self._search_pages.write(page.next, request, call.method, caller.owner_id),
        )
