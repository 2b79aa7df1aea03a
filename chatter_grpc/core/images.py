"""Images in messages: which there may be, how their bytes are known, and where they are kept."""

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Final, Protocol

from chatter_grpc.core.messages import ImagePart, Message

MOST_BYTES: Final = 5 * 1024 * 1024
MOST_IN_MESSAGE: Final = 10

# How the files of each type begin: PNG (RFC 2083, 12.12), JPEG (ITU-T T.81, B.1.1: SOI and a further marker), GIF89a
# specification 17, and WebP (RFC 9649, 2.4).
_BEGINNINGS: Final = {
    "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/gif": re.compile(rb"GIF8[79]a"),
    "image/webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
}
MEDIA_TYPES: Final = tuple(_BEGINNINGS)


def media_type_of(data: bytes) -> str | None:
    """Return the media type that the first bytes of a file show; ``None`` where it is none that a message may hold."""
    return next((media_type for media_type, beginning in _BEGINNINGS.items() if beginning.match(data)), None)


def image_part(media_type: str, data: bytes) -> ImagePart:
    """Return an image with its bytes as a part of a message."""
    return ImagePart(media_type=media_type, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), data=data)


def with_data(message: Message, found: Mapping[int, bytes]) -> Message:
    """Return a message whose images hold their data, which is given by their places among its parts."""
    parts = (
        replace(part, data=found.get(place)) if isinstance(part, ImagePart) else part
        for place, part in enumerate(message.parts)
    )
    return replace(message, parts=tuple(parts))


class ImageStore(Protocol):
    """Keeps the data of messages' images, inside a transaction; it goes when the message's record goes."""

    async def add(self, messages: Iterable[Message]) -> None:
        """Store the images of messages that are stored already, those whose data is there."""
        ...

    async def read(self, owner_id: str, message_ids: Collection[str]) -> Mapping[str, Mapping[int, bytes]]:
        """Return the data of the images of an owner's messages: by message, then by place among its parts."""
        ...
