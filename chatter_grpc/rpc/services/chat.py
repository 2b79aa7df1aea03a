"""ChatService: conversations and messages, joined."""

from chatter_grpc._gen.chatter.v1 import chat_service_pb2_grpc
from chatter_grpc.core.conversation_service import Conversations
from chatter_grpc.core.message_service import Messages
from chatter_grpc.rpc.page_tokens import PageTokenSigner
from chatter_grpc.rpc.services.conversations import ConversationMethods
from chatter_grpc.rpc.services.messages import MessageMethods


class ChatService(ConversationMethods, MessageMethods, chat_service_pb2_grpc.ChatServiceServicer):
    """Serves ChatService."""

    def __init__(self, conversations: Conversations, messages: Messages, page_tokens: PageTokenSigner) -> None:
        ConversationMethods.__init__(self, conversations, page_tokens)
        MessageMethods.__init__(self, messages, page_tokens)
