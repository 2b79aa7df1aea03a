"""What a search finds, to the contract."""

from typing import Final

from chatter_grpc._gen.chatter.v1 import chat_service_pb2
from chatter_grpc.core.search import FoundMessage
from chatter_grpc.rpc.convert.times import timestamp
from chatter_grpc.rpc.frames import ROLES

ROLE_OF: Final = {number: role for role, number in ROLES.items()}


def match_message(found: FoundMessage) -> chat_service_pb2.MessageMatch:
    """Return a message that was found."""
    return chat_service_pb2.MessageMatch(
        message_id=found.message_id,
        conversation_id=found.conversation_id,
        index=found.index,
        role=ROLES[found.role],
        create_time=timestamp(found.created_at),
        snippet=found.snippet.text,
        spans=[chat_service_pb2.TextSpan(start=span.start, end=span.end) for span in found.snippet.spans],
    )
