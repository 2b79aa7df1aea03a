"""Messages and their parts, from and to the contract."""

import hashlib
from collections.abc import Iterable, Iterator

from chatter_grpc._gen.chatter.v1 import content_pb2, message_pb2
from chatter_grpc.core.errors import FieldInvalid, FieldViolation
from chatter_grpc.core.images import MOST_IN_MESSAGE, image_part, media_type_of
from chatter_grpc.core.messages import Message, Part, Rating, TextPart
from chatter_grpc.rpc.convert.times import duration, timestamp
from chatter_grpc.rpc.frames import FINISH_REASONS, ROLES, usage_message


def message_parts(parts: Iterable[content_pb2.ContentPart]) -> tuple[Part, ...]:
    """Return the parts of a message.

    Raises ``FieldInvalid`` naming each part that holds nothing, or an image that is not what is said of it, and where
    there are too many images.
    """
    parts = tuple(parts)
    wrong = [violation for index, part in enumerate(parts) for violation in _violations(f"parts[{index}]", part)]
    if sum(part.HasField("image") for part in parts) > MOST_IN_MESSAGE:
        wrong.append(FieldViolation(field="parts", description=f"must hold at most {MOST_IN_MESSAGE} images"))
    if wrong:
        raise FieldInvalid(wrong)
    return tuple(_part(part) for part in parts)


def _violations(path: str, part: content_pb2.ContentPart) -> Iterator[FieldViolation]:
    if part.WhichOneof("part") is None:
        yield FieldViolation(field=f"{path}.part", description="must be set")
    elif part.HasField("image"):
        image, path = part.image, f"{path}.image"
        if media_type_of(image.data) != image.media_type:
            yield FieldViolation(field=f"{path}.data", description=f"must be of the media type {image.media_type}")
        if image.size_bytes not in {0, len(image.data)}:
            yield FieldViolation(field=f"{path}.size_bytes", description="must be the size of the data")
        if image.sha256 and image.sha256 != hashlib.sha256(image.data).hexdigest():
            yield FieldViolation(field=f"{path}.sha256", description="must be the SHA-256 of the data")


def _part(part: content_pb2.ContentPart) -> Part:
    if part.HasField("image"):
        return image_part(part.image.media_type, part.image.data)
    return TextPart(text=part.text.text)


def part_message(part: Part) -> content_pb2.ContentPart:
    """Return a part of a message; an image without its data where that was not read."""
    if isinstance(part, TextPart):
        return content_pb2.ContentPart(text=content_pb2.TextPart(text=part.text))
    image = content_pb2.ImagePart(
        media_type=part.media_type, data=part.data or b"", size_bytes=part.size_bytes, sha256=part.sha256
    )
    return content_pb2.ContentPart(image=image)


def message_message(message: Message) -> message_pb2.Message:
    """Return a stored message."""
    return message_pb2.Message(
        id=message.id,
        conversation_id=message.conversation_id,
        run_id=message.run_id,
        index=message.index,
        role=ROLES[message.role],
        parts=map(part_message, message.parts),
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
