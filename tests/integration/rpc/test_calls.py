"""What every call has, whatever it is about: an id, a line in the log, the state of its limit, a status."""

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2

from chatter_grpc._gen.chatter.v1 import (
    chat_service_pb2,
    conversation_pb2,
    system_service_pb2,
    user_service_pb2,
    user_service_pb2_grpc,
)
from chatter_grpc.core.errors import Internal
from chatter_grpc.rpc.contract import SERVICES, methods_of
from tests.support.edge import ANSWER, CHAT, DEADLINE, Account, Edge
from tests.support.logs import Log

pytestmark = pytest.mark.parametrize("databases", ["sqlite"], indirect=True)
INFO = "/chatter.v1.SystemService/GetServerInfo"
GET_CONVERSATION = "/chatter.v1.ChatService/GetConversation"
PLANTED = "planted-secret"


async def test_an_answer_carries_the_call_id_and_the_state_of_the_limit(edge: Edge, account: Account) -> None:
    answer = await edge.call(INFO, metadata=account.metadata)
    assert answer.code is grpc.StatusCode.OK
    assert str(answer.trailing["x-call-id"]).startswith("call_")
    assert answer.trailing["ratelimit-limit"] == "1000000"
    assert answer.trailing["ratelimit-remaining"] == "999999"
    assert int(answer.trailing["ratelimit-reset"]) <= 60


@pytest.mark.parametrize(
    ("sent", "taken"),
    [
        ([("x-call-id", "from-client.1")], "from-client.1"),
        ([("x-request-id", "from:proxy_2")], "from:proxy_2"),
        ([("x-request-id", "second"), ("x-call-id", "first")], "first"),
        ([("x-call-id", "not well formed"), ("x-request-id", "fine")], "fine"),
    ],
)
async def test_a_well_formed_id_of_the_client_is_taken(
    edge: Edge, account: Account, sent: list[tuple[str, str]], taken: str
) -> None:
    answer = await edge.call(INFO, metadata=(*account.metadata, *sent))
    assert answer.trailing["x-call-id"] == taken


@pytest.mark.parametrize("sent", ["", "x" * 65, "a b", '{"a":1}', "-x"])
async def test_any_other_id_is_replaced(edge: Edge, account: Account, sent: str) -> None:
    answer = await edge.call(INFO, metadata=(*account.metadata, ("x-call-id", sent)))
    assert str(answer.trailing["x-call-id"]).startswith("call_")


async def test_a_refused_call_carries_its_id_in_metadata_and_details(edge: Edge, account: Account) -> None:
    request = chat_service_pb2.GetConversationRequest(conversation_id="conv_none")
    answer = await edge.call(GET_CONVERSATION, request, (*account.metadata, ("x-call-id", "mine")))
    assert (answer.code, answer.reason) == (grpc.StatusCode.NOT_FOUND, "CONVERSATION_NOT_FOUND")
    (info,) = answer.all_of(error_details_pb2.RequestInfo)
    assert info.request_id == answer.trailing["x-call-id"] == "mine"
    assert answer.trailing["ratelimit-remaining"] == "999999"


async def test_each_call_is_one_line_in_the_log(log: Log, edge: Edge, account: Account) -> None:
    request = chat_service_pb2.GetConversationRequest(conversation_id="conv_none")
    await edge.call(GET_CONVERSATION, request, (*account.metadata, ("x-call-id", "mine")))
    (event,) = await log.wait_for("call")
    assert event.pop("timestamp")
    assert event.pop("duration_ms") > 0
    assert event == {
        "event": "call",
        "level": "info",
        "call_id": "mine",
        "method": GET_CONVERSATION,
        "code": "NOT_FOUND",
        "reason": "CONVERSATION_NOT_FOUND",
        "peer": "",
        "actor_id": account.user.id,
        "owner_id": account.user.id,
    }


@pytest.mark.platform("T7")
async def test_no_secret_that_is_planted_in_any_request_reaches_the_log(log: Log, edge: Edge, account: Account) -> None:
    """T7: in every redacted field and in the credentials of every RPC, at level debug."""
    # The one that ends the session comes last.
    methods = sorted(methods_of(SERVICES), key=lambda each: each[1].name == "Logout")
    for name, method in methods:
        request = planted(GetMessageClass(method.input_type)())
        await edge.call(name, request, (*account.metadata, ("x-chatter-trace", PLANTED)))
        await edge.call(name, request, (("authorization", f"Bearer {PLANTED}"),))
        await edge.call(name, PLANTED.encode(), account.metadata)
    assert len(await log.wait_for("call", 3 * len(methods))) == 3 * len(methods)
    assert len(log.events("request")) == 2 * len(methods)
    assert PLANTED not in log.getvalue()
    assert account.access_token not in log.getvalue()


@pytest.mark.platform("T7")
async def test_nothing_that_is_said_in_a_chat_reaches_the_log(log: Log, edge: Edge, account: Account) -> None:
    """T7: prompts, titles and answers, from the first call to the last, at level debug."""
    settings = conversation_pb2.ModelSettings(system_prompt=PLANTED)
    conversation = await edge.new_conversation(
        account.metadata, title=PLANTED, metadata={PLANTED: PLANTED}, model_settings=settings
    )
    sent = await edge.send(account.metadata, conversation.id, PLANTED, "1")
    listed = await edge.call(
        f"{CHAT}/ListMessages",
        chat_service_pb2.ListMessagesRequest(conversation_id=conversation.id),
        account.metadata,
    )
    assert (sent.reason, listed.reason) == ("", "")
    assert PLANTED.encode() in listed.responses[0]
    assert ANSWER.encode() in listed.responses[0]
    assert len(log.events("request")) == 3
    assert PLANTED not in log.getvalue()
    assert ANSWER not in log.getvalue()


def planted(message: Any) -> Any:
    """A message whose redacted fields hold a secret."""
    for each in message.DESCRIPTOR.fields:
        if each.GetOptions().debug_redact and each.type == each.TYPE_STRING:
            setattr(message, each.name, PLANTED)
        elif each.message_type is not None and each.message_type.GetOptions().map_entry:
            getattr(message, each.name)[PLANTED] = PLANTED
        elif each.message_type is not None and each.is_repeated:
            planted(getattr(message, each.name).add())
        elif each.message_type is not None and each.message_type.file.package == "chatter.v1":
            getattr(message, each.name).SetInParent()
            planted(getattr(message, each.name))
    return message


async def test_a_fault_shows_its_call_id_and_nothing_else(
    log: Log, edge: Edge, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def break_down(*_: object) -> None:
        raise RuntimeError(PLANTED)

    monkeypatch.setattr(edge.services.conversations, "get", break_down)
    request = chat_service_pb2.GetConversationRequest(conversation_id="conv_1")
    answer = await edge.call(GET_CONVERSATION, request, account.metadata)
    assert (answer.code, answer.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert answer.message == Internal().message
    (fault,) = log.events("fault")
    assert fault["call_id"] == answer.trailing["x-call-id"]
    assert fault["exception"][0]["type"] == "builtins.RuntimeError"
    assert fault["exception"][0]["frames"][-1].endswith("break_down")
    assert (await log.wait_for("call"))[0]["level"] == "error"
    assert PLANTED not in log.getvalue() + repr(answer)


async def test_a_call_that_the_client_gives_up_is_logged_as_such(
    log: Log, edge: Edge, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, left = asyncio.Event(), asyncio.Event()

    async def hang(*_: object) -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    monkeypatch.setattr(edge.services.users, "me", hang)
    users = user_service_pb2_grpc.UserServiceStub(edge.channel)
    call = users.GetMe(user_service_pb2.GetMeRequest(), metadata=account.metadata, timeout=DEADLINE)
    await asyncio.wait_for(entered.wait(), DEADLINE)
    call.cancel()
    await asyncio.wait_for(left.wait(), DEADLINE)
    assert (await log.wait_for("call"))[0]["code"] == "CANCELLED"


@pytest.mark.parametrize("method", ["/chatter.v1.ChatService/Fly", "/chatter.v2.ChatService/GetMessage", "/nothing"])
async def test_an_unknown_method_is_unimplemented_and_says_so(edge: Edge, method: str) -> None:
    answer = await edge.call(method, b"\xff", (("x-call-id", "mine"),))
    assert answer.code is grpc.StatusCode.UNIMPLEMENTED
    (info,) = answer.all_of(error_details_pb2.ErrorInfo)
    assert (info.reason, dict(info.metadata)) == ("METHOD_UNKNOWN", {"method": method})
    assert answer.trailing["x-call-id"] == "mine"


async def test_server_info_tells_what_holds(edge: Edge, account: Account) -> None:
    answer = await edge.call(INFO, metadata=account.metadata)
    info = system_service_pb2.GetServerInfoResponse.FromString(answer.responses[0])
    assert (info.version, info.default_model) == ("0.0.0-test", "scripted/model")
    assert [model.name for model in info.models] == ["chatter/offline", "scripted/model"]
    assert (info.registration_open, info.max_request_bytes, info.max_page_size) == (True, 64 * 1024, 1000)
