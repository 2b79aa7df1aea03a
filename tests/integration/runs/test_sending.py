"""Sending: what one message makes, what repeats of it make, and what is refused without a trace."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from chatter_grpc.adapters.models.scripted import Gate, ScriptedChat, answer_script
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.conversations import Conversation, ConversationStatus, Memory, MemoryMode, ModelSettings
from chatter_grpc.core.errors import (
    AccountDisabled,
    ChatterError,
    ConversationArchived,
    ConversationBusy,
    ConversationNotFound,
    ModelUnknown,
    RequestIdReused,
    ServerStopping,
    StorageUnavailable,
    WorkflowNotFound,
)
from chatter_grpc.core.messages import sha256_of
from chatter_grpc.core.models import Finished, FinishReason, ModelRequest, Role, TextPiece, TokenCount
from chatter_grpc.core.pages import PageRequest
from chatter_grpc.core.runs.run import LogCommitter, RunFilter, RunState, WorkflowKind
from chatter_grpc.core.storage import Storage
from chatter_grpc.core.usage import Usage
from chatter_grpc.core.users import UserState
from tests.support.catalogues import MODEL, Catalogue
from tests.support.desk import add_caller
from tests.support.records import store_conversation
from tests.support.replicas import Process, stored_fold, stored_messages
from tests.support.waiting import eventually, soon, until

ANSWER = "Grüße, 漢字 and 😀."


def process(storage: Storage, committer: LogCommitter, chat: ScriptedChat | None = None) -> Process:
    return Process(storage, committer, Catalogue({"model": chat or ScriptedChat(answer_script(ANSWER))}))


async def reload(storage: Storage, conversation: Conversation) -> Conversation:
    async with storage.read() as tx:
        return await tx.conversations.get(conversation.owner_id, conversation.id)


@pytest.mark.platform("T8")
async def test_an_answer_is_stored_with_all_that_is_known_of_it(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    """T8: both messages with usage, model, price and finish reason; streamed equals stored."""
    async with process(storage, committer, ScriptedChat(answer_script(ANSWER, input_tokens=5))) as here:
        run_id = await here.send(caller, conversation.id, "Wie geht's?")
        client = await here.follow(caller, run_id)
        run = await here.run_of(caller, run_id)
    tokens = len(ANSWER.split(" "))
    usage = Usage(input_tokens=5, output_tokens=tokens, cost_micros=5 + 2 * tokens)
    question, answer = await stored_messages(storage, caller, conversation.id)
    assert (question.role, question.text, question.index, question.run_id) == (Role.USER, "Wie geht's?", 1, run_id)
    assert (question.text_sha256, question.usage, question.model) == (sha256_of("Wie geht's?"), None, "")
    assert (answer.role, answer.text, answer.index, answer.run_id) == (Role.ASSISTANT, ANSWER, 2, run_id)
    assert (answer.usage, answer.model, answer.provider) == (usage, MODEL, "scripted")
    assert (answer.finish_reason, answer.text_sha256) == (FinishReason.STOP, sha256_of(ANSWER))
    assert answer.latency_ms is not None
    assert answer.latency_ms >= 0
    assert client.stored == {answer.id: answer.text}
    assert client.kinds == [
        "run_started",
        "attempt_started",
        "node_started",
        "message_started",
        *(kind for kind in client.kinds if kind == "text_delta"),
        "usage",
        "message_finished",
        "node_finished",
        "completed",
    ]
    assert (run.state, run.usage, run.attempt, run.kind) == (RunState.COMPLETED, usage, 1, WorkflowKind.PLAIN)
    assert (run.last_seq, run.failure_reason) == (client.seq, "")
    assert run.finished_at is not None
    fold = await stored_fold(storage, run_id)
    assert {key: message.text for key, message in fold.messages.items()} == client.stored
    assert fold.usage == usage
    after = await reload(storage, conversation)
    assert (after.message_count, after.usage) == (2, usage)
    assert after.last_message_at == answer.created_at
    assert after.version == conversation.version


async def test_a_run_is_listed_and_got_while_it_is_at_work(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    gate = Gate(asyncio.Event())
    chat = ScriptedChat([TextPiece("x"), gate, Finished(FinishReason.STOP)])
    async with process(storage, committer, chat) as here:
        run_id = await here.send(caller, conversation.id)
        run = await here.run_of(caller, run_id)
        page = await here.runs.list(caller, RunFilter(state=RunState.RUNNING), PageRequest())
        assert (run.state, [each.id for each in page.items]) == (RunState.RUNNING, [run_id])
        gate.event.set()
        assert (await here.follow(caller, run_id)).end == "completed"


SETTINGS = {
    "nothing set": (ModelSettings(), ModelSettings(), (MODEL, "", None, None)),
    "the conversation's": (
        ModelSettings(),
        ModelSettings(model="scripted/other", temperature=0.5, max_tokens=7, system_prompt="Be brief."),
        ("scripted/other", "Be brief.", 0.5, 7),
    ),
    "the call's": (
        ModelSettings(model="scripted/other", temperature=0.0, max_tokens=1, system_prompt=""),
        ModelSettings(model=MODEL, temperature=0.5, max_tokens=7, system_prompt="Be brief."),
        ("scripted/other", "", 0.0, 1),
    ),
    "some of each": (
        ModelSettings(temperature=1.5),
        ModelSettings(max_tokens=7, system_prompt="Be brief."),
        (MODEL, "Be brief.", 1.5, 7),
    ),
}


@pytest.mark.platform("T9")
@pytest.mark.parametrize("name", SETTINGS)
async def test_settings_of_the_call_go_before_the_conversations_and_those_before_the_servers(
    storage: Storage, committer: LogCommitter, caller: Caller, name: str
) -> None:
    """T9: each setting reaches the model, also one that is zero or empty."""
    overrides, settings, expected = SETTINGS[name]
    conversation = await store_conversation(storage, caller.owner_id, settings=settings)
    chat, other = ScriptedChat(answer_script("x")), ScriptedChat(answer_script("y"))
    async with Process(storage, committer, Catalogue({"model": chat, "other": other})) as here:
        run_id = await here.send(caller, conversation.id, overrides=overrides)
        await here.follow(caller, run_id)
    (call,) = chat.calls + other.calls
    request = call.request
    assert (request.model, request.system_prompt, request.temperature, request.max_tokens) == expected
    assert bool(chat.calls) == (expected[0] == MODEL)
    stored = (await stored_messages(storage, caller, conversation.id))[-1]
    assert stored.model == expected[0]


def told(request: ModelRequest) -> list[tuple[str, str]]:
    return [(turn.role.value, turn.text) for turn in request.turns]


@pytest.mark.platform("T11")
async def test_history_survives_a_restart_and_is_cut_to_its_window(
    storage: Storage, committer: LogCommitter, caller: Caller
) -> None:
    """T11: another process on the same database remembers as many messages as the window holds."""
    conversation = await store_conversation(
        storage, caller.owner_id, settings=ModelSettings(), memory=Memory(mode=MemoryMode.WINDOW, window=3)
    )
    async with process(storage, committer, ScriptedChat(answer_script("A1"), answer_script("A2"))) as here:
        await here.answer(caller, conversation.id, "Q1")
        await here.answer(caller, conversation.id, "Q2")
    chat = ScriptedChat(answer_script("A3"))
    async with process(storage, committer, chat) as restarted:
        await restarted.answer(caller, conversation.id, "Q3")
    assert told(chat.calls[0].request) == [
        ("assistant", "A1"),
        ("user", "Q2"),
        ("assistant", "A2"),
        ("user", "Q3"),
    ]


@pytest.mark.platform("T11")
async def test_memory_that_is_off_is_off(storage: Storage, committer: LogCommitter, caller: Caller) -> None:
    """T11: with memory off the model is given the user's message alone."""
    conversation = await store_conversation(
        storage, caller.owner_id, settings=ModelSettings(), memory=Memory(mode=MemoryMode.OFF)
    )
    chat = ScriptedChat(answer_script("A"))
    async with process(storage, committer, chat) as here:
        await here.answer(caller, conversation.id, "Q1")
        await here.answer(caller, conversation.id, "Q2")
    assert told(chat.calls[1].request) == [("user", "Q2")]


async def test_every_character_that_a_model_may_say_is_kept(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    said = "\x00 \x7f \u2028 \ufeff \uffff \U0010ffff e\u0301"
    async with process(storage, committer, ScriptedChat([TextPiece(said), Finished(FinishReason.STOP)])) as here:
        client = await here.answer(caller, conversation.id, f"say {said}")
    question, answer = await stored_messages(storage, caller, conversation.id)
    assert (question.text, answer.text) == (f"say {said}", said)
    assert client.stored == {answer.id: said}


async def test_an_empty_answer_is_stored_and_not_remembered(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    chat = ScriptedChat([TokenCount(1, 0), Finished(FinishReason.CONTENT_FILTER)], answer_script("A"))
    async with process(storage, committer, chat) as here:
        client = await here.answer(caller, conversation.id, "Q1")
        await here.answer(caller, conversation.id, "Q2")
    empty = (await stored_messages(storage, caller, conversation.id))[1]
    assert client.stored == {empty.id: ""}
    assert (empty.parts, empty.finish_reason) == ((), FinishReason.CONTENT_FILTER)
    assert told(chat.calls[1].request) == [("user", "Q1"), ("user", "Q2")]


async def test_a_repeated_request_attaches_to_its_run_from_the_beginning(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    gate = Gate(asyncio.Event())
    chat = ScriptedChat([TextPiece("x"), gate, Finished(FinishReason.STOP)])
    async with process(storage, committer, chat) as here:
        first = await here.send(caller, conversation.id, request_id="r1")
        await until(lambda: bool(chat.calls and chat.calls[0].delivered))
        again = await here.send(caller, conversation.id, request_id="r1")
        assert again == first
        gate.event.set()
        clients = await asyncio.gather(here.follow(caller, first), here.follow(caller, again))
        assert await here.send(caller, conversation.id, request_id="r1") == first, "also after its end"
        assert clients[0].stored == clients[1].stored
        assert clients[1].kinds[0] == "run_started"
    assert len(chat.calls) == 1
    assert len(await stored_messages(storage, caller, conversation.id)) == 2


async def test_another_payload_under_the_same_request_id_is_refused(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    async with process(storage, committer) as here:
        run_id = await here.send(caller, conversation.id, request_id="r1", payload=b"one")
        await here.follow(caller, run_id)
        with pytest.raises(RequestIdReused):
            await here.send(caller, conversation.id, request_id="r1", payload=b"other")
    assert len(await stored_messages(storage, caller, conversation.id)) == 2


async def test_requests_that_race_under_one_id_start_one_run(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    chat = ScriptedChat(answer_script(ANSWER))
    async with process(storage, committer, chat) as here:
        run_ids = await asyncio.gather(
            *(here.send(caller, conversation.id, request_id="r1", payload=b"p") for _ in range(5))
        )
        assert len(set(run_ids)) == 1
        clients = await asyncio.gather(*(here.follow(caller, run_id) for run_id in run_ids))
    assert len(chat.calls) == 1
    assert all(client.stored == clients[0].stored for client in clients)
    assert len(await stored_messages(storage, caller, conversation.id)) == 2


async def test_a_second_run_of_a_conversation_is_refused_while_the_first_is_at_work(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    gate = Gate(asyncio.Event())
    chat = ScriptedChat([gate, TextPiece("x"), Finished(FinishReason.STOP)])
    async with process(storage, committer, chat) as here:
        run_id = await here.send(caller, conversation.id)
        with pytest.raises(ConversationBusy) as refused:
            await here.send(caller, conversation.id, request_id="second")
        assert refused.value.metadata["run_id"] == run_id
        assert len(await stored_messages(storage, caller, conversation.id)) == 1
        gate.event.set()
        await here.follow(caller, run_id)
        second = await here.send(caller, conversation.id, request_id="second")
        assert second != run_id, "what was refused left no trace of its request id"
        await here.follow(caller, second)


async def test_of_starts_that_race_one_wins_and_the_others_hear_of_it(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    gate = Gate(asyncio.Event())
    chat = ScriptedChat([gate, TextPiece("x"), Finished(FinishReason.STOP)])
    async with process(storage, committer, chat) as here:
        results = await asyncio.gather(*(here.send(caller, conversation.id) for _ in range(5)), return_exceptions=True)
        (run_id,) = [result for result in results if isinstance(result, str)]
        refused = [result for result in results if isinstance(result, ConversationBusy)]
        assert [error.metadata["run_id"] for error in refused] == [run_id] * 4
        gate.event.set()
        await here.follow(caller, run_id)


REFUSALS: dict[str, tuple[type[ChatterError], dict[str, Any]]] = {
    "archived": (ConversationArchived, {}),
    "deleted": (ConversationNotFound, {}),
    "someone else's": (ConversationNotFound, {}),
    "a stored workflow": (WorkflowNotFound, {"workflow_id": "wf_1"}),
    "an unknown model": (ModelUnknown, {"overrides": ModelSettings(model="nobody/knows")}),
    "a server that stops": (ServerStopping, {}),
    "an account that was just disabled": (AccountDisabled, {}),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_what_is_refused_leaves_nothing_behind(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation, name: str
) -> None:
    error, given = REFUSALS[name]
    now = datetime.now(UTC)
    changed = {
        "archived": replace(conversation, status=ConversationStatus.ARCHIVED),
        "deleted": replace(conversation, deleted_at=now, purge_at=now),
    }.get(name, conversation)
    async with storage.write() as tx:
        await tx.conversations.replace(changed)
        if name == "an account that was just disabled":
            account = await tx.users.lock(caller.actor_id)
            assert account is not None
            await tx.users.replace(replace(account, state=UserState.DISABLED))
    who = await add_caller(storage, "eve") if name == "someone else's" else caller
    async with process(storage, committer) as here:
        if name == "a server that stops":
            await here.supervisor.stop(0)
        with pytest.raises(error):
            await here.send(who, conversation.id, **given)
        assert not here.supervisor.active_count
    if name != "deleted":
        assert not await stored_messages(storage, caller, conversation.id)
    async with storage.read() as tx:
        assert not (await tx.runs.list(caller.owner_id, RunFilter(), PageRequest())).items


async def is_given_back(storage: Storage) -> bool:
    """Whether there is a run that waits for somebody to go on with it, its lease not having expired."""
    async with storage.read() as tx:
        return await tx.runs.any_lost(released=True)


async def test_a_start_whose_answer_was_lost_is_given_back_at_once_and_found_by_its_repeat(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    chat = ScriptedChat(answer_script(ANSWER))
    async with process(storage, committer, chat) as here:
        here.faults.lost_answers = 1
        with pytest.raises(StorageUnavailable):
            await here.send(caller, conversation.id, request_id="r1")
        run_id = await here.send(caller, conversation.id, request_id="r1")
        watching = asyncio.create_task(here.follow(caller, run_id))
        await eventually(lambda: is_given_back(storage))
        await here.take_over()
        client = await soon(watching)
        assert (client.end, client.attempt, list(client.stored.values())) == ("completed", 2, [ANSWER])
        assert len(chat.calls) == 1
        assert (await here.answer(caller, conversation.id)).end == "completed", "the conversation is free again"


async def test_a_start_that_could_not_be_written_is_an_error_and_no_run(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    async with process(storage, committer) as here:
        here.faults.away = True
        with pytest.raises(ChatterError) as refused:
            await here.send(caller, conversation.id, request_id="r1")
        assert refused.value.reason == "STORAGE_UNAVAILABLE"
        here.faults.away = False
        assert (await here.follow(caller, await here.send(caller, conversation.id, request_id="r1"))).end == "completed"
