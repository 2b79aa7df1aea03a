"""Parts of messages, from and to the contract: what is refused of them, all at once, and what the log shows."""

import hashlib
from typing import Any

import pytest

from chatter_grpc._gen.chatter.v1 import chat_service_pb2
from chatter_grpc._gen.chatter.v1.content_pb2 import ContentPart, ImagePart, TextPart
from chatter_grpc.core.errors import FieldInvalid
from chatter_grpc.core.images import MOST_BYTES, MOST_IN_MESSAGE
from chatter_grpc.rpc.contract import SERVICES
from chatter_grpc.rpc.convert.messages import message_parts, part_message
from chatter_grpc.rpc.redaction import redacted
from chatter_grpc.rpc.rules import request_rules
from tests.support.images import IMAGES, PNG

SHA256 = hashlib.sha256(PNG).hexdigest()


def image(**fields: Any) -> ContentPart:
    return ContentPart(image=ImagePart(**{"media_type": "image/png", "data": PNG, **fields}))


def violations(*parts: ContentPart) -> list[tuple[str, str]]:
    with pytest.raises(FieldInvalid) as caught:
        message_parts(parts)
    return [(each.field, each.description) for each in caught.value.violations]


def test_parts_are_what_was_sent_and_images_have_size_and_hash() -> None:
    sent = [ContentPart(text=TextPart(text="Look")), image(), image(size_bytes=len(PNG), sha256=SHA256)]
    parts = message_parts(sent)
    whole = image(size_bytes=len(PNG), sha256=SHA256)
    assert [part_message(part) for part in parts] == [sent[0], whole, whole]


def test_everything_that_is_wrong_is_told() -> None:
    parts = (
        ContentPart(),
        image(media_type="image/gif"),
        image(size_bytes=1, sha256=hashlib.sha256(b"").hexdigest()),
        ContentPart(text=TextPart(text="fine")),
    )
    assert violations(*parts) == [
        ("parts[0].part", "must be set"),
        ("parts[1].image.data", "must be of the media type image/gif"),
        ("parts[2].image.size_bytes", "must be the size of the data"),
        ("parts[2].image.sha256", "must be the SHA-256 of the data"),
    ]


def test_there_are_not_too_many_images() -> None:
    assert len(message_parts([image()] * MOST_IN_MESSAGE)) == MOST_IN_MESSAGE
    assert violations(*[image()] * (MOST_IN_MESSAGE + 1)) == [("parts", f"must hold at most {MOST_IN_MESSAGE} images")]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"media_type": "image/svg+xml"}, "media_type"),
        ({"media_type": ""}, "media_type"),
        ({"data": b""}, "data"),
        ({"data": PNG + bytes(MOST_BYTES - len(PNG) + 1)}, "data"),
        ({"size_bytes": -1}, "size_bytes"),
        ({"sha256": SHA256.upper()}, "sha256"),
    ],
)
def test_an_image_keeps_the_rules_of_the_contract(fields: dict[str, Any], field: str) -> None:
    rules = request_rules(SERVICES)["/chatter.v1.ChatService/SendMessage"]

    def broken(part: ContentPart) -> list[str]:
        request = chat_service_pb2.SendMessageRequest(request_id="r", conversation_id="c", parts=[part])
        return [violation.field for violation in rules.violations(request)]

    assert broken(image(**fields)) == [f"parts[0].image.{field}"]
    for media_type, data in IMAGES.items():
        assert broken(image(media_type=media_type, data=data + bytes(MOST_BYTES - len(data)))) == []


def test_the_log_shows_neither_images_nor_schemas() -> None:
    request = chat_service_pb2.SendMessageRequest(parts=[image()], response_schema='{"title": "planted"}')
    shown = redacted(request)
    assert shown == {
        "parts": [{"image": {"media_type": "image/png", "data": "[redacted]"}}],
        "response_schema": "[redacted]",
    }
