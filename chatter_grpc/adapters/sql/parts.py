"""How the parts of a message are written: as JSON, images without their data."""

from typing import Any

import msgspec
from sqlalchemy import Dialect

from chatter_grpc.adapters.sql.columns import Document
from chatter_grpc.core.messages import ImagePart, TextPart


class StoredPart(msgspec.Struct, omit_defaults=True):
    """A text, or what is known of an image."""

    text: str | None = None
    media_type: str = ""
    size_bytes: int = 0
    sha256: str = ""


class Parts(Document):
    """The parts of a message; the data of images is kept apart, so that what reads messages does not read it."""

    cache_ok = True

    def __init__(self) -> None:
        super().__init__(tuple[StoredPart, ...])

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Encode to text."""
        stored = [
            StoredPart(text=part.text)
            if isinstance(part, TextPart)
            else StoredPart(media_type=part.media_type, size_bytes=part.size_bytes, sha256=part.sha256)
            for part in value
        ]
        return super().process_bind_param(stored, dialect)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Decode from text."""
        return tuple(
            ImagePart(media_type=part.media_type, size_bytes=part.size_bytes, sha256=part.sha256)
            if part.text is None
            else TextPart(text=part.text)
            for part in super().process_result_value(value, dialect)
        )
