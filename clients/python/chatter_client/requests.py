"""Makes requests out of less than they take."""

import uuid
from collections.abc import Sequence
from typing import Any

from chatter_client.contract import chat_service_pb2, content_pb2

Content = str | Sequence[content_pb2.ContentPart]


def message_request(conversation_id: str, content: Content, **fields: Any) -> chat_service_pb2.SendMessageRequest:
    """Return a request to send a message: a text, or parts; with a request id of its own where none is given."""
    parts = [text_part(content)] if isinstance(content, str) else list(content)
    fields.setdefault("request_id", str(uuid.uuid4()))
    return chat_service_pb2.SendMessageRequest(conversation_id=conversation_id, parts=parts, **fields)


def text_part(text: str) -> content_pb2.ContentPart:
    """Return a text as a part of a message."""
    return content_pb2.ContentPart(text=content_pb2.TextPart(text=text))
