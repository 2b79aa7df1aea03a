"""Images in messages: which there may be, and how their bytes are known."""

import hashlib
import re
from typing import Final

from chatter_grpc.core.messages import ImagePart

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
