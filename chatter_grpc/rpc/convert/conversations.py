"""Conversations and their settings, from and to the contract."""

from typing import Final

from chatter_grpc._gen.chatter.v1 import chat_service_pb2, conversation_pb2
from chatter_grpc.core.conversation_service import ConversationValues, etag_of
from chatter_grpc.core.conversations import (
    DEFAULT_WINDOW,
    Conversation,
    ConversationOrder,
    ConversationStatus,
    Memory,
    MemoryMode,
    ModelSettings,
)
from chatter_grpc.rpc.convert.times import timestamp
from chatter_grpc.rpc.frames import usage_message

STATUSES: Final = {
    ConversationStatus.ACTIVE: conversation_pb2.CONVERSATION_STATUS_ACTIVE,
    ConversationStatus.ARCHIVED: conversation_pb2.CONVERSATION_STATUS_ARCHIVED,
}
STATUS_OF: Final = {number: status for status, number in STATUSES.items()}
ORDER_OF: Final = {
    chat_service_pb2.CONVERSATION_ORDER_UNSPECIFIED: ConversationOrder.ACTIVITY,
    chat_service_pb2.CONVERSATION_ORDER_ACTIVITY: ConversationOrder.ACTIVITY,
    chat_service_pb2.CONVERSATION_ORDER_CREATED: ConversationOrder.CREATED,
    chat_service_pb2.CONVERSATION_ORDER_TITLE: ConversationOrder.TITLE,
}
MODE_OF: Final = {
    conversation_pb2.MEMORY_MODE_UNSPECIFIED: MemoryMode.WINDOW,
    conversation_pb2.MEMORY_MODE_OFF: MemoryMode.OFF,
    conversation_pb2.MEMORY_MODE_WINDOW: MemoryMode.WINDOW,
}
# A float of the wire has this many decimals; as a double it would show more than was meant.
DECIMALS: Final = 6


def model_settings(message: conversation_pb2.ModelSettings) -> ModelSettings:
    """Return model settings; what is not set is ``None``."""
    return ModelSettings(
        model=message.model if message.HasField("model") else None,
        temperature=round(message.temperature, DECIMALS) if message.HasField("temperature") else None,
        max_tokens=message.max_tokens if message.HasField("max_tokens") else None,
        system_prompt=message.system_prompt if message.HasField("system_prompt") else None,
    )


def memory(message: conversation_pb2.MemorySettings) -> Memory:
    """Return memory settings; what is not set is its default."""
    return Memory(mode=MODE_OF[message.mode], window=message.window or DEFAULT_WINDOW)


def values_to_create(request: chat_service_pb2.CreateConversationRequest) -> ConversationValues:
    """Return what a new conversation is to hold."""
    return ConversationValues(
        title=request.title,
        description=request.description,
        settings=model_settings(request.model_settings),
        memory=memory(request.memory),
        tags=tuple(request.tags),
        metadata=dict(request.metadata),
    )


def values_to_update(message: conversation_pb2.Conversation) -> ConversationValues:
    """Return the values that an update may take; what is not set is its default."""
    return ConversationValues(
        title=message.title,
        description=message.description,
        status=STATUS_OF.get(message.status, ConversationStatus.ACTIVE),
        settings=model_settings(message.model_settings),
        memory=memory(message.memory),
        tags=tuple(message.tags),
        metadata=dict(message.metadata),
    )


def conversation_message(conversation: Conversation) -> conversation_pb2.Conversation:
    """Return a conversation."""
    return conversation_pb2.Conversation(
        id=conversation.id,
        title=conversation.title,
        description=conversation.description,
        status=STATUSES[conversation.status],
        model_settings=conversation_pb2.ModelSettings(
            model=conversation.settings.model,
            temperature=conversation.settings.temperature,
            max_tokens=conversation.settings.max_tokens,
            system_prompt=conversation.settings.system_prompt,
        ),
        memory=memory_message(conversation.memory),
        tags=conversation.tags,
        metadata=conversation.metadata,
        message_count=conversation.message_count,
        usage=usage_message(conversation.usage),
        create_time=timestamp(conversation.created_at),
        update_time=timestamp(conversation.updated_at),
        last_message_time=timestamp(conversation.last_message_at),
        delete_time=timestamp(conversation.deleted_at),
        purge_time=timestamp(conversation.purge_at),
        etag=etag_of(conversation),
    )


def memory_message(settings: Memory) -> conversation_pb2.MemorySettings:
    """Return memory settings; the window is left out where none is remembered, so that they can be sent back."""
    if settings.mode is MemoryMode.OFF:
        return conversation_pb2.MemorySettings(mode=conversation_pb2.MEMORY_MODE_OFF)
    return conversation_pb2.MemorySettings(mode=conversation_pb2.MEMORY_MODE_WINDOW, window=settings.window)
