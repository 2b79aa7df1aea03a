"""ChatService: conversations and messages, joined."""

from chatter_grpc._gen.chatter.v1 import chat_service_pb2_grpc
from chatter_grpc.core.conversation_service import Conversations
from chatter_grpc.core.forking import Forking
from chatter_grpc.core.message_changes import MessageChanges
from chatter_grpc.core.message_service import Messages
from chatter_grpc.core.runs.service import Runs
from chatter_grpc.core.searching import Searches
from chatter_grpc.core.sending import Sending
from chatter_grpc.rpc.page_tokens import PageTokenSigner
from chatter_grpc.rpc.services.conversations import ConversationMethods
from chatter_grpc.rpc.services.messages import MessageMethods
from chatter_grpc.rpc.services.run_stream import RunStreams
from chatter_grpc.rpc.services.searches import SearchMethods


# The stubs know handlers that yield alone; SendMessage writes to the context, so that no layer sees its messages.
class ChatService(  # type: ignore[misc]
    ConversationMethods, MessageMethods, SearchMethods, chat_service_pb2_grpc.ChatServiceServicer
):
    """Serves ChatService."""

    def __init__(
        self,
        conversations: Conversations,
        forking: Forking,
        messages: Messages,
        changes: MessageChanges,
        searches: Searches,
        sending: Sending,
        runs: Runs,
        streams: RunStreams,
        page_tokens: PageTokenSigner,
    ) -> None:
        ConversationMethods.__init__(self, conversations, forking, page_tokens)
        SearchMethods.__init__(self, searches, page_tokens)
        MessageMethods.__init__(self, messages, changes, sending, runs, streams, page_tokens)
