"""Failures of providers, of ours and of time: typed, final, and never taken for an answer."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest

from chatter_grpc._gen.chatter.v1 import error_reason_pb2
from chatter_grpc.adapters.models.scripted import (
    CallState,
    Gate,
    ProviderError,
    ScriptedChat,
    answer_script,
)
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.conversations import Conversation
from chatter_grpc.core.errors import (
    ProviderRateLimited,
    ProviderRefused,
    ProviderStreamBroken,
    ProviderTimeout,
    ProviderUnavailable,
)
from chatter_grpc.core.models import ChatModel, Finished, FinishReason, ModelDelta, ModelRequest, Role, TextPiece
from chatter_grpc.core.runs.run import LogCommitter, Run, RunState
from chatter_grpc.core.runs.supervisor import RunSettings
from chatter_grpc.core.storage import Storage
from chatter_grpc.core.usage import Usage
from tests.support.catalogues import Catalogue
from tests.support.fold import ClientFold
from tests.support.replicas import Process, stored_messages

ERRORS: list[ProviderError] = [
    ProviderUnavailable(provider="scripted", status=500),
    ProviderRateLimited(provider="scripted", retry_after=3),
    ProviderRefused(provider="scripted", status=401),
    ProviderTimeout(provider="scripted", phase="idle"),
    ProviderStreamBroken(provider="scripted"),
]


def reason_of(client: ClientFold) -> str:
    assert client.last is not None
    return error_reason_pb2.ErrorReason.Name(client.last.failed.reason).removeprefix("ERROR_REASON_")


async def failed(here: Process, caller: Caller, conversation: Conversation) -> tuple[ClientFold, Run]:
    """Send a message, see its run fail, and nothing stored but the message."""
    run_id = await here.send(caller, conversation.id)
    client = await here.follow(caller, run_id)
    run = await here.run_of(caller, run_id)
    assert (client.end, run.state) == ("failed", RunState.FAILED)
    assert run.failure_reason == reason_of(client)
    assert client.last is not None
    assert run.failure_message == client.last.failed.message
    assert run.finished_at is not None
    return client, run


@pytest.mark.platform("T10")
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.reason)
@pytest.mark.parametrize("begun", [False, True], ids=["before the first token", "after it"])
async def test_a_provider_that_fails_is_a_typed_failure_and_never_an_answer(
    storage: Storage,
    committer: LogCommitter,
    caller: Caller,
    conversation: Conversation,
    error: ProviderError,
    begun: bool,
) -> None:
    """T10: a failure event and a state, nothing stored as an answer, and the conversation is free again."""
    script = [TextPiece("1234"), error] if begun else [error]
    async with Process(storage, committer, Catalogue({"model": ScriptedChat(script, answer_script("A"))})) as here:
        client, run = await failed(here, caller, conversation)
        assert reason_of(client) == error.reason
        assert client.stored == {}
        assert ("message_discarded" in client.kinds) == begun
        assert "node_finished" not in client.kinds
        (question,) = await stored_messages(storage, caller, conversation.id)
        assert question.role is Role.USER
        usage = Usage(input_tokens=2, output_tokens=1, cost_micros=4, estimated=True) if begun else Usage()
        assert run.usage == usage
        assert (await here.answer(caller, conversation.id)).end == "completed"


class Faulty:
    """A chat whose adapter has a fault."""

    provider = "scripted"

    def __init__(self, error: BaseException) -> None:
        self._error = error

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Sequence[ModelDelta], None]:
        yield (TextPiece("x"),)
        raise self._error


@pytest.mark.parametrize("error", [ValueError("planted secret"), TimeoutError(), asyncio.CancelledError()])
async def test_a_fault_of_ours_is_internal_and_tells_nothing(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation, error: BaseException
) -> None:
    chat: ChatModel = Faulty(error)
    async with Process(storage, committer, Catalogue({"model": chat})) as here:
        client, run = await failed(here, caller, conversation)
    assert reason_of(client) == "INTERNAL"
    assert "planted" not in run.failure_message
    assert len(await stored_messages(storage, caller, conversation.id)) == 1


async def test_a_run_that_takes_too_long_ends_and_keeps_what_was_said(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    chat = ScriptedChat([TextPiece("Hel"), Gate(asyncio.Event()), Finished(FinishReason.STOP)])
    limited = RunSettings(time_limit=0.1)
    async with Process(storage, committer, Catalogue({"model": chat}), runs=limited) as here:
        client, _ = await failed(here, caller, conversation)
    assert reason_of(client) == "RUN_TIMEOUT"
    assert chat.calls[0].state is CallState.CLOSED
    _, partial = await stored_messages(storage, caller, conversation.id)
    assert (partial.text, partial.finish_reason) == ("Hel", FinishReason.CANCELLED)
    assert client.stored == {partial.id: "Hel"}
