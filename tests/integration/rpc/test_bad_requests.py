"""Bad input of every kind is refused with its reason, on every RPC, and nothing breaks."""

from typing import Any

import grpc
import pytest
from google.protobuf import duration_pb2, json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatter_grpc._gen.chatter.v1 import auth_service_pb2, chat_service_pb2, conversation_pb2, run_pb2
from chatter_grpc.core.callers import Scope
from chatter_grpc.rpc.contract import SERVICES, methods_of
from tests.support.edge import MAX_REQUEST_BYTES, Account, Edge, bearer

METHODS = dict(methods_of(SERVICES))
# Codes that would tell of a bug rather than of the request.
FAULTS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAVAILABLE}
# A string in field 1 that is not UTF-8.
NO_UTF8 = b"\x0a\x02\xc3\x28"
ONLY_SQLITE = pytest.mark.parametrize("databases", ["sqlite"], indirect=True)


@ONLY_SQLITE
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xff\xff\xff\xff", "REQUEST_MALFORMED"),
        (NO_UTF8, "REQUEST_MALFORMED"),
        (b"\x00" * (MAX_REQUEST_BYTES + 1), "REQUEST_TOO_LARGE"),
    ],
)
async def test_what_cannot_be_read_is_refused_on_every_method(
    edge: Edge, root: Account, data: bytes, reason: str
) -> None:
    for name, method in METHODS.items():
        if data == NO_UTF8 and not begins_with_text(method.input_type):
            continue
        answer = await edge.call(name, data, root.metadata)
        assert (answer.code, answer.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason), name
        assert answer.all_of(error_details_pb2.RequestInfo), name


def begins_with_text(message: Descriptor) -> bool:
    """Whether field 1 is a string."""
    field = message.fields_by_number.get(1)
    return field is not None and field.type == field.TYPE_STRING


@ONLY_SQLITE
async def test_the_facts_of_an_unreadable_request_are_told(edge: Edge, account: Account) -> None:
    name = "/chatter.v1.RunService/GetRun"
    malformed = await edge.call(name, b"\xff", account.metadata)
    assert dict(malformed.details[0].metadata) == {"method": name}
    large = await edge.call(name, b"\x00" * (MAX_REQUEST_BYTES + 1), account.metadata)
    sizes = {"size_bytes": str(MAX_REQUEST_BYTES + 1), "max_bytes": str(MAX_REQUEST_BYTES)}
    assert dict(large.details[0].metadata) == sizes


@ONLY_SQLITE
async def test_an_empty_request_is_refused_where_a_field_is_required_and_only_there(edge: Edge, root: Account) -> None:
    # Those that end the session each have one of their own.
    ending = {name: await edge.replica.log_in("root") for name in METHODS if "/Logout" in name}
    reasons = {
        name.rpartition("/")[2]: (
            await edge.call(name, b"", bearer(ending[name].access_token) if name in ending else root.metadata)
        ).reason
        for name in sorted(METHODS, key=lambda name: name.endswith("/LogoutEverywhere"))
    }
    reading = {"GetServerInfo", "GetMe", "ListConversations", "ListRuns", "ListApiKeys", "ListUsers"}
    fine = {*reading, "CreateConversation", "Logout", "LogoutEverywhere"}
    assert reasons == {name: "" if name in fine else "FIELD_INVALID" for name in reasons}


@ONLY_SQLITE
async def test_all_violations_come_back_in_one_answer(edge: Edge, account: Account) -> None:
    request = chat_service_pb2.CreateConversationRequest(
        request_id="with space",
        title="t" * 201,
        model_settings=conversation_pb2.ModelSettings(temperature=2.5, max_tokens=0, model=""),
        memory=conversation_pb2.MemorySettings(window=201),
        tags=["", "t" * 51],
    )
    answer = await edge.call("/chatter.v1.ChatService/CreateConversation", request, account.metadata)
    assert (answer.code, answer.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert answer.fields == {
        "request_id": "must match [!-~]+",
        "title": "must have at most 200 characters",
        "model_settings.model": "must have at least 1 characters",
        "model_settings.temperature": "must be at most 2",
        "model_settings.max_tokens": "must be at least 1",
        "memory.window": "must be at most 200",
        "tags[0]": "must have at least 1 characters",
        "tags[1]": "must have at most 50 characters",
    }


@ONLY_SQLITE
@pytest.mark.parametrize("method", ["ChatService/SendMessage", "ChatService/RegenerateMessage", "RunService/CreateRun"])
async def test_a_budget_of_nothing_or_less_is_refused(edge: Edge, account: Account, method: str) -> None:
    name = f"/chatter.v1.{method}"
    ids = {"request_id": "q", "conversation_id": "conv_1", "message_id": "msg_1"}
    parts = [{"text": {"text": "Hello"}}]
    request: Any = GetMessageClass(METHODS[name].input_type)()
    json_format.ParseDict({**ids, "parts": parts}, request, ignore_unknown_fields=True)
    for tokens, micros in ((0, -1), (-(2**63), 0)):
        request.budget.CopyFrom(run_pb2.Budget(max_tokens=tokens, max_cost_micros=micros))
        answer = await edge.call(name, request, account.metadata)
        assert (answer.code, answer.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
        assert answer.fields == dict.fromkeys(("budget.max_tokens", "budget.max_cost_micros"), "must be at least 1")
    for span in ({}, {"seconds": -1}, {"nanos": -1}, {"seconds": 2, "nanos": -1}, {"seconds": 2**62}):
        request.budget.CopyFrom(run_pb2.Budget(max_duration=duration_pb2.Duration(**span)))
        answer = await edge.call(name, request, account.metadata)
        assert (answer.reason, set(answer.fields)) == ("FIELD_INVALID", {"budget.max_duration"})


@ONLY_SQLITE
@pytest.mark.parametrize("email", ["ada", "ada@", "a da@x", "q\x1b[2J@q", "q@q\x7f", "a@b@c"])
async def test_an_address_without_an_at_or_with_what_moves_a_terminal_is_refused(edge: Edge, email: str) -> None:
    request = auth_service_pb2.RegisterRequest(username="ada", email=email, password="correct horse")
    answer = await edge.call("/chatter.v1.AuthService/Register", request)
    assert (answer.reason, set(answer.fields)) == ("FIELD_INVALID", {"email"})
    assert answer.fields["email"].isprintable()


@ONLY_SQLITE
async def test_a_great_bound_is_written_out(edge: Edge, account: Account) -> None:
    greedy = conversation_pb2.ModelSettings(max_tokens=1_000_001)
    request = chat_service_pb2.CreateConversationRequest(model_settings=greedy)
    answer = await edge.call("/chatter.v1.ChatService/CreateConversation", request, account.metadata)
    assert answer.fields == {"model_settings.max_tokens": "must be at most 1000000"}


@ONLY_SQLITE
async def test_a_thousand_violations_fit_into_the_metadata_of_an_answer(edge: Edge, account: Account) -> None:
    metadata = {f"{index:032}{'k' * 469}": "" for index in range(32)}
    request = chat_service_pb2.CreateConversationRequest(metadata=metadata, tags=["t" * 51] * 20)
    answer = await edge.call("/chatter.v1.ChatService/CreateConversation", request, account.metadata)
    assert answer.reason == "FIELD_INVALID"
    assert answer.details[0].metadata["fields"] == "52"


@ONLY_SQLITE
@pytest.mark.parametrize("method", ["ListConversations", "ListMessages"])
async def test_a_forged_page_token_is_refused(edge: Edge, account: Account, method: str) -> None:
    request = GetMessageClass(METHODS[f"/chatter.v1.ChatService/{method}"].input_type)()
    fields = {"page_token": "AWZvcmdlZCB0b2tlbiBvZiBhIHBhZ2U", "conversation_id": "conv_1"}
    for name, value in fields.items():
        if name in request.DESCRIPTOR.fields_by_name:
            setattr(request, name, value)
    answer = await edge.call(f"/chatter.v1.ChatService/{method}", request, account.metadata)
    assert (answer.code, answer.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")
    assert "page_token" in answer.fields


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_no_bytes_break_any_method(
    edge: Edge, account: Account, conversation_id: str, data: st.DataObject
) -> None:
    texts = st.sampled_from([conversation_id, "", "\0", "x" * 65, "a@b", "title", "memory.mode", "💥", "%_\\'\""])
    for name, method in METHODS.items():
        if name.endswith("/Logout"):
            continue
        raw = data.draw(st.binary(max_size=60) | fields(method.input_type, texts | st.text(max_size=10)), label=name)
        answer = await edge.call(name, raw, account.metadata)
        assert answer.code not in FAULTS, (name, raw, answer.message)
        assert answer.trailing["x-call-id"]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=60))
async def test_no_bytes_break_the_method_that_ends_a_session(edge: Edge, account: Account, raw: bytes) -> None:
    """With a key, which has no session to end, so that the method can be called again."""
    key = await edge.replica.accounts.create_api_key(login="ada", name="k", scopes=[Scope.CHAT_READ], expires_at=None)
    answer = await edge.call("/chatter.v1.AuthService/Logout", raw, (("authorization", f"Bearer {key.text}"),))
    assert answer.reason in {"SESSION_REQUIRED", "REQUEST_MALFORMED"}


def fields(message: Descriptor, texts: st.SearchStrategy[str], depth: int = 2) -> st.SearchStrategy[bytes]:
    """Bytes that are fields of a message by number and wire type, with any values."""
    known = [encoded(field, texts, depth) for field in message.fields]
    return st.lists(st.one_of(known), max_size=6).map(b"".join) if known else st.just(b"")


def encoded(field: FieldDescriptor, texts: st.SearchStrategy[str], depth: int) -> st.SearchStrategy[bytes]:
    """Bytes of one field."""
    number = field.number << 3
    if field.type in {field.TYPE_STRING, field.TYPE_BYTES, field.TYPE_MESSAGE}:
        content = texts.map(str.encode)
        if field.message_type is not None and depth:
            content = fields(field.message_type, texts, depth - 1)
        return content.map(lambda value: varint(number | 2) + varint(len(value)) + value)
    if field.type == field.TYPE_FLOAT:
        return st.binary(min_size=4, max_size=4).map(lambda value: varint(number | 5) + value)
    return (st.integers(0, 9) | st.integers(0, 2**64 - 1)).map(lambda value: varint(number) + varint(value))


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
