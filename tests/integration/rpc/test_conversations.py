"""Conversations and messages over the wire: what is sent is what is kept and what comes back."""

import asyncio

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from chatter_grpc._gen.chatter.v1 import (
    chat_service_pb2,
    content_pb2,
    conversation_pb2,
    error_reason_pb2,
    run_pb2,
    run_service_pb2,
)
from chatter_grpc.adapters.models.scripted import Gate, ScriptedChat
from chatter_grpc.core.errors import ProviderRefused
from chatter_grpc.core.models import Finished, FinishReason, TextPiece
from tests.support.edge import ANSWER, CHAT, Account, Edge, EdgeOptions

pytestmark = pytest.mark.parametrize("databases", ["sqlite"], indirect=True)
GET = f"{CHAT}/GetConversation"


def request_with_everything() -> chat_service_pb2.CreateConversationRequest:
    return chat_service_pb2.CreateConversationRequest(
        request_id="once",
        title="Title",
        description="Description",
        model_settings=conversation_pb2.ModelSettings(
            model="chatter/offline", temperature=0.7, max_tokens=100, system_prompt=""
        ),
        memory=conversation_pb2.MemorySettings(window=5),
        tags=["b", "a", "b"],
        metadata={"k": "v"},
    )


async def created(edge: Edge, account: Account) -> conversation_pb2.Conversation:
    answer = await edge.call(f"{CHAT}/CreateConversation", request_with_everything(), account.metadata)
    return chat_service_pb2.CreateConversationResponse.FromString(answer.responses[0]).conversation


async def test_what_is_created_comes_back_as_it_was_sent(edge: Edge, account: Account) -> None:
    made = await created(edge, account)
    assert (made.title, made.description) == ("Title", "Description")
    assert (list(made.tags), dict(made.metadata)) == (["b", "a"], {"k": "v"})
    assert made.status == conversation_pb2.CONVERSATION_STATUS_ACTIVE
    assert made.memory == conversation_pb2.MemorySettings(mode=conversation_pb2.MEMORY_MODE_WINDOW, window=5)
    assert made.model_settings == request_with_everything().model_settings
    assert (made.etag, made.message_count, made.usage) == ("1", 0, content_pb2.Usage(cost_micros=0))
    assert made.create_time == made.update_time
    assert not made.HasField("last_message_time")
    assert not made.HasField("delete_time")
    read = await edge.call(GET, chat_service_pb2.GetConversationRequest(conversation_id=made.id), account.metadata)
    assert chat_service_pb2.GetConversationResponse.FromString(read.responses[0]).conversation == made


async def test_a_repeat_of_the_request_gives_the_same_and_another_payload_is_refused(
    edge: Edge, account: Account
) -> None:
    made = await created(edge, account)
    assert await created(edge, account) == made
    other = request_with_everything()
    other.title = "Another"
    answer = await edge.call(f"{CHAT}/CreateConversation", other, account.metadata)
    assert (answer.code, answer.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


async def test_what_was_read_can_be_sent_back_as_a_whole(edge: Edge, account: Account) -> None:
    made = await created(edge, account)
    made.title = "New title"
    made.model_settings.ClearField("temperature")
    made.memory.CopyFrom(conversation_pb2.MemorySettings(mode=conversation_pb2.MEMORY_MODE_OFF))
    mask = FieldMask(paths=["title", "description", "status", "tags", "metadata", "memory", "model_settings"])
    request = chat_service_pb2.UpdateConversationRequest(conversation=made, update_mask=mask)
    answer = await edge.call(f"{CHAT}/UpdateConversation", request, account.metadata)
    changed = chat_service_pb2.UpdateConversationResponse.FromString(answer.responses[0]).conversation
    assert (changed.title, changed.model_settings, changed.memory) == (made.title, made.model_settings, made.memory)
    assert (changed.etag, list(changed.tags)) == ("2", ["b", "a"])
    request.conversation.CopyFrom(changed)
    again = await edge.call(f"{CHAT}/UpdateConversation", request, account.metadata)
    assert chat_service_pb2.UpdateConversationResponse.FromString(again.responses[0]).conversation == changed


@pytest.mark.parametrize(
    ("conversation_id", "etag", "path", "reason", "field"),
    [
        ("", "", "title", "FIELD_INVALID", "conversation.id"),
        ("{made}", "", "nonsense", "FIELD_INVALID", "update_mask.paths[0]"),
        ("{made}", "", "id", "FIELD_INVALID", "update_mask.paths[0]"),
        ("{made}", "0", "title", "ETAG_MISMATCH", ""),
        ("conv_none", "", "title", "CONVERSATION_NOT_FOUND", ""),
    ],
)
async def test_an_update_that_cannot_be_is_refused(
    edge: Edge, account: Account, conversation_id: str, etag: str, path: str, reason: str, field: str
) -> None:
    made = await created(edge, account)
    conversation = conversation_pb2.Conversation(id=conversation_id.format(made=made.id), etag=etag, title="x")
    request = chat_service_pb2.UpdateConversationRequest(conversation=conversation, update_mask=FieldMask(paths=[path]))
    answer = await edge.call(f"{CHAT}/UpdateConversation", request, account.metadata)
    assert answer.reason == reason
    assert "".join(answer.fields) == field


async def test_messages_are_kept_with_what_made_them(edge: Edge, account: Account, conversation_id: str) -> None:
    sent = await edge.send(account.metadata, conversation_id, "Hello? 💥", "1")
    assert sent.code is grpc.StatusCode.OK
    request = chat_service_pb2.ListMessagesRequest(conversation_id=conversation_id)
    listed = await edge.call(f"{CHAT}/ListMessages", request, account.metadata)
    question, answer = chat_service_pb2.ListMessagesResponse.FromString(listed.responses[0]).messages
    assert (question.index, question.role, question.parts[0].text.text) == (1, content_pb2.ROLE_USER, "Hello? 💥")
    assert (question.model, question.finish_reason) == ("", content_pb2.FINISH_REASON_UNSPECIFIED)
    assert not question.HasField("usage")
    assert not question.HasField("latency")
    assert (answer.index, answer.role, answer.parts[0].text.text) == (2, content_pb2.ROLE_ASSISTANT, ANSWER)
    assert (answer.model, answer.provider) == ("scripted/model", "scripted")
    assert answer.finish_reason == content_pb2.FINISH_REASON_STOP
    assert answer.usage.output_tokens == len(ANSWER.split())
    assert answer.HasField("latency")
    assert question.run_id == answer.run_id
    single = await edge.call(
        f"{CHAT}/GetMessage", chat_service_pb2.GetMessageRequest(message_id=answer.id), account.metadata
    )
    assert chat_service_pb2.GetMessageResponse.FromString(single.responses[0]).message == answer


async def test_a_part_that_holds_nothing_is_refused(edge: Edge, account: Account, conversation_id: str) -> None:
    full = content_pb2.ContentPart(text=content_pb2.TextPart(text="x"))
    request = chat_service_pb2.SendMessageRequest(
        request_id="1", conversation_id=conversation_id, parts=[full, content_pb2.ContentPart()]
    )
    answer = await edge.call(f"{CHAT}/SendMessage", request, account.metadata)
    assert (answer.reason, answer.fields) == ("FIELD_INVALID", {"parts[1].part": "must be set"})


class TestAtWork:
    """While a run is at work, which begins and then waits."""

    @pytest.fixture
    def options(self) -> EdgeOptions:
        script = (TextPiece("Well, "), Gate(asyncio.Event()), Finished(FinishReason.STOP))
        return EdgeOptions(model=ScriptedChat(script))

    async def test_deleting_a_conversation_cancels_its_run(
        self, edge: Edge, account: Account, conversation_id: str
    ) -> None:
        stream = asyncio.ensure_future(edge.send(account.metadata, conversation_id, "Hello?", "1"))
        await edge.model.wait_for_calls(1)
        request = chat_service_pb2.DeleteConversationRequest(conversation_id=conversation_id)
        answer = await edge.call(f"{CHAT}/DeleteConversation", request, account.metadata)
        deleted = chat_service_pb2.DeleteConversationResponse.FromString(answer.responses[0]).conversation
        assert deleted.purge_time.seconds - deleted.delete_time.seconds == 30 * 24 * 3600
        frames = [chat_service_pb2.SendMessageResponse.FromString(each) for each in (await stream).responses]
        assert frames[-1].events[-1].WhichOneof("event") == "cancelled"
        listed = await edge.call("/chatter.v1.RunService/ListRuns", b"", account.metadata)
        (run,) = run_service_pb2.ListRunsResponse.FromString(listed.responses[0]).runs
        assert (run.state, run.cancel_requested) == (run_pb2.RUN_STATE_CANCELLED, True)
        assert run.kind == run_pb2.WORKFLOW_KIND_PLAIN
        assert run.HasField("finish_time")


class TestFailing:
    """With a provider that refuses."""

    @pytest.fixture
    def options(self) -> EdgeOptions:
        return EdgeOptions(model=ScriptedChat((ProviderRefused(provider="scripted", status=401),)))

    async def test_a_run_that_failed_says_why(self, edge: Edge, account: Account, conversation_id: str) -> None:
        sent = await edge.send(account.metadata, conversation_id, "Hello?", "1")
        assert sent.code is grpc.StatusCode.OK
        first = chat_service_pb2.SendMessageResponse.FromString(sent.responses[0])
        request = run_service_pb2.GetRunRequest(run_id=first.events[0].run_started.run_id)
        answer = await edge.call("/chatter.v1.RunService/GetRun", request, account.metadata)
        run = run_service_pb2.GetRunResponse.FromString(answer.responses[0]).run
        assert run.state == run_pb2.RUN_STATE_FAILED
        assert run.failure.reason == error_reason_pb2.ERROR_REASON_PROVIDER_REFUSED
        assert run.failure.message
