"""What a caller owns, nobody else can reach, by any RPC."""

from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message_factory import GetMessageClass

from chatter_grpc._gen.chatter.v1 import chat_service_pb2, run_service_pb2
from chatter_grpc.rpc.contract import SERVICES, methods_of
from tests.support.edge import CHAT, Account, Answer, Edge

# Which fields name what belongs to somebody.
OWNED = {"conversation_id", "message_id", "run_id", "conversation"}
REACHING = {name: method for name, method in methods_of(SERVICES) if OWNED & set(method.input_type.fields_by_name)}
LISTS = {"ListRuns", "SearchMessages"}


@pytest.fixture
async def ids(edge: Edge, account: Account, conversation_id: str) -> dict[str, str]:
    """The ids of a conversation, an answer and a run of the account's."""
    await edge.send(account.metadata, conversation_id, "Mine.", "1")
    request = chat_service_pb2.ListMessagesRequest(conversation_id=conversation_id)
    listed = await edge.call(f"{CHAT}/ListMessages", request, account.metadata)
    message = chat_service_pb2.ListMessagesResponse.FromString(listed.responses[0]).messages[1]
    return {"conversation_id": conversation_id, "message_id": message.id, "run_id": message.run_id}


def naming(name: str, ids: dict[str, str]) -> Any:
    """A valid request of a method with these ids."""
    request: Any = GetMessageClass(REACHING[name].input_type)()
    fields = request.DESCRIPTOR.fields_by_name
    for field, value in ids.items():
        if field in fields:
            setattr(request, field, value)
    if "conversation" in fields:
        request.conversation.id = ids["conversation_id"]
        request.update_mask.CopyFrom(FieldMask(paths=["title"]))
    if "parts" in fields:
        request.parts.add().text.text = "Hello?"
    for field, given in {"request_id": "2", "query": "mine", "rating": 5}.items():
        if field in fields:
            setattr(request, field, given)
    return request


@pytest.mark.platform("T1", "T2")
async def test_a_foreign_id_is_not_found_by_every_method(edge: Edge, ids: dict[str, str]) -> None:
    """T1, T2: the owner's request is answered, the same one of another is NOT_FOUND, as if there were nothing."""
    stranger = await edge.sign_in("eve")
    nothing = {name: value[:-6] + "000000" for name, value in ids.items()}
    for name in REACHING:
        foreign = await edge.call(name, naming(name, ids), stranger.metadata)
        absent = await edge.call(name, naming(name, nothing), stranger.metadata)
        if name.rpartition("/")[2] in LISTS:
            assert foreign.responses == [b""], name
            continue
        assert foreign.code is grpc.StatusCode.NOT_FOUND, name
        assert told(foreign, ids) == told(absent, nothing), name


def told(answer: Answer, ids: dict[str, str]) -> tuple[str, str, list[str]]:
    """What an answer tells, without the ids that were asked for and its own call id."""
    details = [str(detail) for detail in answer.details if not hasattr(detail, "request_id")]
    for value in ids.values():
        details = [detail.replace(value, "the id") for detail in details]
    return answer.reason, answer.message, details


async def test_the_owner_reaches_all_of_it(edge: Edge, account: Account, ids: dict[str, str]) -> None:
    last = {"CancelRun": "RUN_ALREADY_FINISHED"}
    # What stands in the way of others comes after them.
    late = ("RegenerateMessage", "SendMessage", "DeleteMessage", "CreateRun", "DeleteConversation")
    ranks = {name: rank for rank, name in enumerate(late, 1)}
    for name in sorted(REACHING, key=lambda each: ranks.get(each.rpartition("/")[2], 0)):
        answer = await edge.call(name, naming(name, ids), account.metadata)
        assert answer.reason == last.get(name.rpartition("/")[2], ""), name


@pytest.mark.platform("T1")
async def test_lists_hold_the_callers_own_alone(edge: Edge, ids: dict[str, str]) -> None:
    """T1: another's lists are empty."""
    stranger = await edge.sign_in("eve")
    conversations = await edge.call(f"{CHAT}/ListConversations", b"", stranger.metadata)
    assert chat_service_pb2.ListConversationsResponse.FromString(conversations.responses[0]).conversations == []
    runs = await edge.call("/chatter.v1.RunService/ListRuns", b"", stranger.metadata)
    assert run_service_pb2.ListRunsResponse.FromString(runs.responses[0]).runs == []
