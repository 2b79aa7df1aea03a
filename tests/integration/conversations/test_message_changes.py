"""Messages are deleted and rated by their owner, and not while a run answers them."""

from dataclasses import replace
from datetime import timedelta

import pytest

from chatter_grpc.core.callers import Caller
from chatter_grpc.core.conversation_service import ConversationValues, etag_of
from chatter_grpc.core.conversations import PURGE_AFTER, Conversation
from chatter_grpc.core.errors import (
    ConversationNotFound,
    EtagMismatch,
    FieldInvalid,
    MessageBusy,
    MessageNotFound,
    MessageNotRatable,
)
from chatter_grpc.core.message_changes import MessageChanges
from chatter_grpc.core.messages import Message, Rating
from chatter_grpc.core.runs.run import Run
from chatter_grpc.core.storage import Storage
from chatter_grpc.core.usage import Usage
from tests.support.desk import Desk
from tests.support.records import (
    LEASE,
    NOW,
    PROCESS,
    a_message,
    a_run,
    an_answer,
    an_input,
    finish_run,
    first_batch,
    start_run,
)


@pytest.fixture
def changes(storage: Storage) -> MessageChanges:
    return MessageChanges(storage, lambda: NOW)


async def talk(storage: Storage, desk: Desk, caller: Caller) -> tuple[Conversation, Message, Message]:
    """Store a conversation with a question and an answer, whose run is over."""
    made = await desk.conversations.create(caller, ConversationValues(), None)
    run = await start_run(storage, made)
    question, answer = a_message(made, run.id), an_answer(made, run.id)
    async with storage.write() as tx:
        await tx.messages.append(made.id, (question, answer), Usage())
    assert await finish_run(storage, run)
    return made, question, answer


async def answer_again(storage: Storage, conversation: Conversation, question: Message) -> Run:
    """Store a run that answers a message which another run was started with."""
    run = a_run(conversation)
    async with storage.write() as tx:
        run_input = an_input(run, user_message_id=question.id)
        await tx.runs.add(run, run_input, first_batch(run), process_id=PROCESS, lease_seconds=LEASE)
    return run


async def test_a_message_that_a_run_at_work_answers_stays_until_it_has_ended(
    storage: Storage, desk: Desk, changes: MessageChanges, caller: Caller
) -> None:
    conversation, question, answer = await talk(storage, desk, caller)
    run = await answer_again(storage, conversation, question)
    mine = a_message(conversation, run.id)
    async with storage.write() as tx:
        await tx.messages.append(conversation.id, (mine,), Usage())
    for message in (question, mine):
        with pytest.raises(MessageBusy) as busy:
            await changes.delete(caller, message.id)
        assert busy.value.metadata == {"message_id": message.id, "run_id": run.id}
    # What is not answered now may go.
    await changes.delete(caller, answer.id)
    assert await finish_run(storage, await _stored(storage, run))
    for message in (question, mine):
        await changes.delete(caller, message.id)


async def _stored(storage: Storage, run: Run) -> Run:
    async with storage.read() as tx:
        return await tx.runs.get(run.owner_id, run.id)


async def test_only_its_owner_deletes_a_message_and_only_once(
    storage: Storage, desk: Desk, changes: MessageChanges, caller: Caller, stranger: Caller
) -> None:
    conversation, question, _ = await talk(storage, desk, caller)
    with pytest.raises(MessageNotFound):
        await changes.delete(stranger, question.id)
    await changes.delete(caller, question.id)
    with pytest.raises(MessageNotFound):
        await changes.delete(caller, question.id)
    assert (await desk.conversations.get(caller, conversation.id)).message_count == 1


async def test_an_answer_is_rated_and_a_question_is_not(
    storage: Storage, desk: Desk, changes: MessageChanges, caller: Caller, stranger: Caller
) -> None:
    _, question, answer = await talk(storage, desk, caller)
    rated = await changes.rate(caller, answer.id, 3, "Well.")
    assert rated.rating == Rating(value=3, comment="Well.", rated_at=NOW)
    assert (await changes.rate(caller, answer.id, 0, "")).rating is None
    with pytest.raises(MessageNotRatable):
        await changes.rate(caller, question.id, 3, "")
    with pytest.raises(MessageNotFound):
        await changes.rate(stranger, answer.id, 3, "")
    with pytest.raises(FieldInvalid):
        await changes.rate(caller, answer.id, 0, "Well.")


async def test_a_conversation_comes_back_until_its_purge_time(
    storage: Storage, desk: Desk, caller: Caller, stranger: Caller
) -> None:
    conversation, question, _ = await talk(storage, desk, caller)
    gone = await desk.conversations.delete(caller, conversation.id)
    for who, etag, refusal in ((stranger, "", ConversationNotFound), (caller, etag_of(conversation), EtagMismatch)):
        with pytest.raises(refusal):
            await desk.conversations.undelete(who, conversation.id, etag)
    back = await desk.conversations.undelete(caller, conversation.id, etag_of(gone))
    assert (back.deleted_at, back.purge_at, back.message_count, back.version) == (None, None, 2, gone.version + 1)
    assert await desk.conversations.get(caller, conversation.id) == back
    assert await desk.conversations.undelete(caller, conversation.id) == back
    async with storage.read() as tx:
        assert (await tx.messages.get(caller.owner_id, question.id)).id == question.id


async def test_a_conversation_whose_purge_time_has_come_does_not_come_back(
    storage: Storage, desk: Desk, caller: Caller
) -> None:
    conversation, _, _ = await talk(storage, desk, caller)
    gone = await desk.conversations.delete(caller, conversation.id)
    assert gone.deleted_at is not None
    assert gone.purge_at == gone.deleted_at + PURGE_AFTER == gone.deleted_at + timedelta(days=30)
    async with storage.write() as tx:
        await tx.conversations.restore(replace(gone, purge_at=gone.deleted_at))
    with pytest.raises(ConversationNotFound):
        await desk.conversations.undelete(caller, conversation.id)
