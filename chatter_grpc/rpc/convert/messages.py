"""Messages and their parts, from and to the contract."""

from collections.abc import Iterable

from chatter_grpc._gen.chatter.v1 import content_pb2, message_pb2
from chatter_grpc.core.errors import FieldInvalid, FieldViolation
from chatter_grpc.core.messages import Message, Rating, TextPart
from chatter_grpc.rpc.convert.times import duration, timestamp
from chatter_grpc.rpc.frames import FINISH_REASONS, ROLES, usage_message


def text_parts(parts: Iterable[content_pb2.ContentPart]) -> tuple[TextPart, ...]:
    """Return the parts of a message; raises ``FieldInvalid`` naming each part that holds nothing."""
    parts = tuple(parts)
    empty = [
        FieldViolation(field=f"parts[{index}].part", description="must be set")
        for index, part in enumerate(parts)
        if part.WhichOneof("part") is None
    ]
    if empty:
        raise FieldInvalid(empty)
    return tuple(TextPart(text=part.text.text) for part in parts)


def message_message(message: Message) -> message_pb2.Message:
    """Return a stored message."""
    return message_pb2.Message(
        id=message.id,
        conversation_id=message.conversation_id,
        run_id=message.run_id,
        index=message.index,
        role=ROLES[message.role],
        parts=[content_pb2.ContentPart(text=content_pb2.TextPart(text=part.text)) for part in message.parts],
        text_sha256=message.text_sha256,
        model=message.model,
        provider=message.provider,
        finish_reason=(
            content_pb2.FINISH_REASON_UNSPECIFIED
            if message.finish_reason is None
            else FINISH_REASONS[message.finish_reason]
        ),
        usage=None if message.usage is None else usage_message(message.usage),
        latency=duration(message.latency_ms),
        create_time=timestamp(message.created_at),
        copied_from=message.copied_from,
        rating=None if message.rating is None else rating_message(message.rating),
        replaced_by_run_id=message.replaced_by_run_id,
    )


def rating_message(rating: Rating) -> message_pb2.MessageRating:
    """Return what an owner thinks of a message."""
    return message_pb2.MessageRating(rating=rating.value, comment=rating.comment, rate_time=timestamp(rating.rated_at))
