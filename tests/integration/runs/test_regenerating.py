"""Regenerating: the last question is answered again, and the answer before gives way when there is another."""

import asyncio
from dataclasses import replace

import pytest

from chatter_grpc.adapters.models.scripted import Gate, Script, ScriptedChat, answer_script
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.conversations import Conversation, ConversationStatus, ModelSettings
from chatter_grpc.core.errors import (
    ChatterError,
    ConversationArchived,
    ConversationBusy,
    MessageNotFound,
    MessageNotLast,
    ProviderUnavailable,
    RequestIdReused,
)
from chatter_grpc.core.messages import Message
from chatter_grpc.core.models import Finished, FinishReason, TextPiece
from chatter_grpc.core.pages import PageRequest
from chatter_grpc.core.runs.run import LogCommitter, RunState
from chatter_grpc.core.storage import Storage
from tests.support.catalogues import MODEL, Catalogue
from tests.support.desk import add_caller
from tests.support.records import NOW
from tests.support.replicas import Process, stored_messages
from tests.support.waiting import until

STOP = Finished(FinishReason.STOP)
FAILS = (ProviderUnavailable(provider="scripted", status=503),)


def process(storage: Storage, committer: LogCommitter, *scripts: Script) -> tuple[Process, ScriptedChat]:
    """A process whose model says this, call by call, and how often it was asked what."""
    chat = ScriptedChat(*scripts)
    return Process(storage, committer, Catalogue({"model": chat, "other": ScriptedChat(answer_script("other"))})), chat


def saying(*texts: str) -> list[Script]:
    return [answer_script(text) for text in texts]


async def all_messages(storage: Storage, conversation: Conversation) -> list[Message]:
    """All messages of a conversation, those that were replaced among them."""
    async with storage.read() as tx:
        page = await tx.messages.list(
            conversation.owner_id, conversation.id, PageRequest(), newest_first=False, include_replaced=True
        )
    return list(page.items)


async def texts_of(storage: Storage, caller: Caller, conversation: Conversation) -> list[str]:
    return [each.text for each in await stored_messages(storage, caller, conversation.id)]


async def test_another_answer_stands_in_the_place_of_the_one_before(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    here, chat = process(storage, committer, *saying("first", "second", "third"))
    async with here:
        await here.answer(caller, conversation.id, "Why?")
        question, first = await stored_messages(storage, caller, conversation.id)
        run_id = await here.regenerate(caller, first.id)
        fold = await here.follow(caller, run_id)
        run = await here.run_of(caller, run_id)
        assert await texts_of(storage, caller, conversation) == ["Why?", "second"]
        again = await here.regenerate(caller, question.id)
        await here.follow(caller, again)
    assert (run.user_message_id, run.regeneration, run.state) == (question.id, True, RunState.COMPLETED)
    kept, *answers = await all_messages(storage, conversation)
    assert kept == question
    assert [(each.text, each.index, each.replaced_by_run_id) for each in answers] == [
        ("first", 2, run_id),
        ("second", 3, again),
        ("third", 4, ""),
    ]
    assert list(fold.stored.values()) == ["second"]
    async with storage.read() as tx:
        assert (await tx.messages.get(caller.owner_id, first.id)).text == "first"
        after = await tx.conversations.get(caller.owner_id, conversation.id)
    assert after.message_count == 2
    # All three answers were paid for.
    assert after.usage.output_tokens == 3
    assert [[turn.text for turn in call.request.turns] for call in chat.calls] == [["Why?"]] * 3


async def test_a_model_is_never_given_an_answer_that_was_replaced(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    here, chat = process(storage, committer, *saying("bad", "good", "x"))
    async with here:
        await here.answer(caller, conversation.id, "One")
        _, bad = await stored_messages(storage, caller, conversation.id)
        await here.follow(caller, await here.regenerate(caller, bad.id))
        await here.answer(caller, conversation.id, "Two")
    assert [turn.text for turn in chat.calls[-1].request.turns] == ["One", "good", "Two"]


async def test_a_regeneration_without_an_answer_replaces_nothing(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    here, _ = process(storage, committer, answer_script("good"), FAILS, [Gate(asyncio.Event()), TextPiece("x"), STOP])
    async with here:
        await here.answer(caller, conversation.id, "Why?")
        before = await all_messages(storage, conversation)
        failed = await here.follow(caller, await here.regenerate(caller, before[1].id))
        assert (failed.end, await all_messages(storage, conversation)) == ("failed", before)
        run_id = await here.regenerate(caller, before[1].id)
        await here.until_written(run_id, 3)
        assert (await here.runs.cancel(caller, run_id)).state is RunState.CANCELLED
    assert await all_messages(storage, conversation) == before


async def test_an_answer_that_was_cut_off_by_a_cancellation_stands_as_far_as_it_came(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    here, _ = process(storage, committer, answer_script("old"), [TextPiece("ne"), Gate(asyncio.Event()), STOP])
    async with here:
        await here.answer(caller, conversation.id, "Why?")
        _, old = await stored_messages(storage, caller, conversation.id)
        run_id = await here.regenerate(caller, old.id)
        await here.until_written(run_id)
        # Until the run ends, what was answered before is what stands.
        assert await texts_of(storage, caller, conversation) == ["Why?", "old"]
        await here.runs.cancel(caller, run_id)
    assert await texts_of(storage, caller, conversation) == ["Why?", "ne"]


async def test_a_question_whose_answer_failed_is_answered_again(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    here, chat = process(storage, committer, FAILS, answer_script("at last"))
    async with here:
        assert (await here.answer(caller, conversation.id, "Why?")).end == "failed"
        (question,) = await stored_messages(storage, caller, conversation.id)
        assert (await here.follow(caller, await here.regenerate(caller, question.id))).end == "completed"
    assert await texts_of(storage, caller, conversation) == ["Why?", "at last"]
    assert [turn.text for turn in chat.calls[-1].request.turns] == ["Why?"]


async def test_a_regeneration_whose_process_dies_leaves_the_answer_before_until_the_next_attempt_ends(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    here, _ = process(storage, committer, answer_script("old"), [TextPiece("new"), Gate(asyncio.Event()), STOP])
    async with here:
        await here.answer(caller, conversation.id, "Why?")
        _, old = await stored_messages(storage, caller, conversation.id)
        run_id = await here.regenerate(caller, old.id)
        await here.until_written(run_id)
        gate = Gate(asyncio.Event())
        models = Catalogue({"model": ScriptedChat([gate, TextPiece("newer"), STOP])})
        async with Process(storage, committer, models, name="reaper") as there:
            async with storage.write() as tx:
                await tx.runs.expire_leases()
            await there.take_over()
            # What was being written had no end, and is not stored.
            assert await texts_of(storage, caller, conversation) == ["Why?", "old"]
            gate.event.set()
            assert (await there.ended(caller, run_id)).attempt == 2
            assert await texts_of(storage, caller, conversation) == ["Why?", "newer"]
            await until(lambda: here.supervisor.active_count == 0)


async def test_what_is_said_of_the_call_goes_before_the_conversation_and_the_run_before_counts_no_more(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    here, _ = process(storage, committer, *saying("first", "second"))
    async with here:
        other = ModelSettings(model="scripted/other")
        await here.follow(caller, await here.send(caller, conversation.id, overrides=other))
        question, answer = await stored_messages(storage, caller, conversation.id)
        await here.follow(caller, await here.regenerate(caller, answer.id))
        await here.follow(caller, await here.regenerate(caller, question.id, overrides=other))
    assert [each.model for each in (await all_messages(storage, conversation))[1:]] == [
        "scripted/other",
        MODEL,
        "scripted/other",
    ]


async def test_a_repeat_attaches_to_the_same_run_also_when_its_answer_stands(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    here, chat = process(storage, committer, *saying("first", "second"))
    async with here:
        await here.answer(caller, conversation.id, "Why?")
        _, first = await stored_messages(storage, caller, conversation.id)
        run_id, same = await asyncio.gather(*(here.regenerate(caller, first.id, request_id="r") for _ in range(2)))
        await here.ended(caller, run_id)
        await here.answer(caller, conversation.id, "And?")
        later = await here.regenerate(caller, first.id, request_id="r")
        with pytest.raises(RequestIdReused):
            await here.regenerate(caller, first.id, request_id="r", payload=b"another")
    assert run_id == same == later
    assert len(chat.calls) == 3


async def refusal(here: Process, caller: Caller, message_id: str) -> type[ChatterError] | None:
    try:
        await here.regenerate(caller, message_id)
    except ChatterError as error:
        return type(error)
    return None


async def test_what_cannot_be_regenerated_is_refused_and_changes_nothing(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    here, chat = process(storage, committer, *saying("a", "b"))
    async with here:
        for text in ("One", "Two"):
            await here.answer(caller, conversation.id, text)
        first, answer, _, last = await stored_messages(storage, caller, conversation.id)
        before = await all_messages(storage, conversation)
        stranger = await add_caller(storage, "eve")
        assert await refusal(here, caller, first.id) is MessageNotLast
        assert await refusal(here, caller, answer.id) is MessageNotLast
        assert await refusal(here, stranger, last.id) is MessageNotFound
        assert await refusal(here, caller, "msg_none") is MessageNotFound
        async with storage.write() as tx:
            held = await tx.conversations.lock(caller.owner_id, conversation.id)
            await tx.conversations.replace(replace(held, status=ConversationStatus.ARCHIVED))
        assert await refusal(here, caller, last.id) is ConversationArchived
        async with storage.write() as tx:
            held = await tx.conversations.lock(caller.owner_id, conversation.id)
            await tx.conversations.replace(replace(held, deleted_at=NOW))
        assert await refusal(here, caller, last.id) is MessageNotFound
    assert len(chat.calls) == 2
    async with storage.write() as tx:
        assert await tx.runs.active([caller.owner_id]) == ()
    assert len(before) == 4


async def test_a_conversation_is_busy_for_as_long_as_an_answer_is_made_again(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    gate = Gate(asyncio.Event())
    here, _ = process(storage, committer, answer_script("a"), [TextPiece("b"), gate, STOP])
    async with here:
        await here.answer(caller, conversation.id)
        _, answer = await stored_messages(storage, caller, conversation.id)
        run_id = await here.regenerate(caller, answer.id)
        for start in (here.regenerate(caller, answer.id), here.send(caller, conversation.id)):
            with pytest.raises(ConversationBusy) as busy:
                await start
            assert busy.value.metadata["run_id"] == run_id
        gate.event.set()
        assert (await here.follow(caller, run_id)).end == "completed"
