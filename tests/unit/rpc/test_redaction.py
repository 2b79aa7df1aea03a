"""What the log may show of a request: what the contract marks as secret or content is not there."""

from typing import Any

from google.protobuf.message_factory import GetMessageClass

from chatter_grpc._gen.chatter.v1 import auth_service_pb2, chat_service_pb2, content_pb2, conversation_pb2, run_pb2
from chatter_grpc.rpc.redaction import REDACTED, redacted
from tests.support.protos import compile_proto


def test_passwords_and_names_are_redacted_and_the_rest_is_shown() -> None:
    request = auth_service_pb2.RegisterRequest(username="ada", email="a@b", password="planted", display_name="Ada")
    assert redacted(request) == {
        "username": "ada",
        "email": REDACTED,
        "password": REDACTED,
        "display_name": REDACTED,
    }


def test_text_deep_inside_is_redacted() -> None:
    request = chat_service_pb2.SendMessageRequest(
        conversation_id="conv_1",
        parts=[content_pb2.ContentPart(text=content_pb2.TextPart(text="planted"))],
        kind=run_pb2.WORKFLOW_KIND_PLAIN,
        overrides=conversation_pb2.ModelSettings(temperature=0.5, system_prompt="planted"),
    )
    assert redacted(request) == {
        "conversation_id": "conv_1",
        "parts": [{"text": {"text": REDACTED}}],
        "kind": "WORKFLOW_KIND_PLAIN",
        "overrides": {"temperature": 0.5, "system_prompt": REDACTED},
    }


def test_maps_and_page_tokens_which_hold_what_users_wrote_are_redacted() -> None:
    create = chat_service_pb2.CreateConversationRequest(metadata={"planted": "planted"}, tags=["a", "b"])
    assert redacted(create) == {"metadata": REDACTED, "tags": ["a", "b"]}
    assert redacted(chat_service_pb2.ListConversationsRequest(page_token="planted", page_size=3)) == {
        "page_token": REDACTED,
        "page_size": 3,
    }


def test_unknown_fields_are_left_out() -> None:
    request = auth_service_pb2.LogoutRequest.FromString(b"\x0a\x07planted")
    assert redacted(request) == {}


def test_long_texts_and_lists_are_cut_and_unknown_enum_numbers_shown() -> None:
    request = chat_service_pb2.CreateConversationRequest(request_id="x" * 1000, tags=["t"] * 1000)
    shown = redacted(request)
    assert shown["request_id"] == "x" * 200 + "… (1000 characters)"
    assert len(shown["tags"]) == 20
    assert redacted(chat_service_pb2.ListConversationsRequest(order=99)) == {"order": 99}  # type: ignore[arg-type]


def test_other_maps_are_shown_and_bytes_by_their_size() -> None:
    source = compile_proto("message Case { map<string, int32> counts = 1; bytes raw = 2; repeated bytes raws = 3; }")
    message: Any = GetMessageClass(source.message_types_by_name["Case"])(
        counts={"b": 2, "a": 1}, raw=b"planted", raws=[b"x"]
    )
    assert redacted(message) == {"counts": {"a": 1, "b": 2}, "raw": "7 bytes", "raws": ["1 bytes"]}
