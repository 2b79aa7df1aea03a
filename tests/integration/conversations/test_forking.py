"""A fork is made once, of the caller's own messages, and not of more than one transaction should copy."""

import pytest

from chatter_grpc.core import forking
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.conversation_service import ConversationUpdate, ConversationValues
from chatter_grpc.core.conversations import ConversationStatus, ModelSettings
from chatter_grpc.core.errors import ConversationNotFound, ForkTooLarge, MessageNotFound, RequestIdReused
from chatter_grpc.core.forking import Fork, Forking
from chatter_grpc.core.messages import Message
from chatter_grpc.core.pages import PageRequest
from chatter_grpc.core.requests import RequestKey
from chatter_grpc.core.search import MessageFilter
from chatter_grpc.core.search_query import parse_query
from chatter_grpc.core.storage import Storage
from chatter_grpc.core.usage import Usage
from tests.support.desk import Desk
from tests.support.records import NOW, a_message, an_answer, finish_run, start_run


@pytest.fixture
def forks(storage: Storage) -> Forking:
    return Forking(storage, lambda: NOW)


async def talk(storage: Storage, desk: Desk, caller: Caller) -> tuple[Message, ...]:
    """Store an archived conversation of three messages."""
    settings = ModelSettings(system_prompt="Be brief.")
    values = ConversationValues(title="Old", description="Long", settings=settings, tags=("a",))
    made = await desk.conversations.create(caller, values, None)
    run = await start_run(storage, made)
    said = (a_message(made, run.id), an_answer(made, run.id), a_message(made, run.id, text="xy"))
    async with storage.write() as tx:
        await tx.messages.append(made.id, said, Usage(input_tokens=7))
    archive = ConversationValues(status=ConversationStatus.ARCHIVED)
    update = ConversationUpdate(conversation_id=made.id, values=archive, paths=("status",))
    await desk.conversations.update(caller, update, None)
    return said


def key(caller: Caller, payload: bytes = b"payload") -> RequestKey:
    return RequestKey(owner_id=caller.owner_id, method="/fork", request_id="once", payload_hash=payload)


async def test_a_fork_has_the_settings_and_counts_what_was_copied_but_not_what_it_took(
    storage: Storage, desk: Desk, forks: Forking, caller: Caller
) -> None:
    said = await talk(storage, desk, caller)
    made = await forks.fork(caller, Fork(message_id=said[1].id), None)
    assert await desk.conversations.get(caller, made.id) == made
    assert (made.title, made.description, made.tags, made.status) == ("Old", "Long", ("a",), ConversationStatus.ACTIVE)
    assert (made.settings.system_prompt, made.message_count, made.usage) == ("Be brief.", 2, Usage())
    assert (made.created_at, made.last_message_at, made.version) == (NOW, said[1].created_at, 1)
    run = await start_run(storage, made)
    async with storage.write() as tx:
        assert await tx.messages.append(made.id, (a_message(made, run.id),), Usage()) == 3


async def test_a_fork_at_an_answer_that_was_replaced_goes_on_from_that_one(
    storage: Storage, desk: Desk, forks: Forking, caller: Caller
) -> None:
    """Among three answers to one question, the second; in the fork it stands, and is found."""
    made = await desk.conversations.create(caller, ConversationValues(title="Old"), None)
    runs = [await start_run(storage, made)]
    question = a_message(made, runs[0].id, text="question")
    answers = [an_answer(made, runs[0].id, text="first")]
    async with storage.write() as tx:
        await tx.messages.append(made.id, (question, *answers), Usage())
    for text in ("second", "third"):
        await finish_run(storage, runs[-1])
        runs.append(await start_run(storage, made))
        answers.append(an_answer(made, runs[-1].id, text=text))
        async with storage.write() as tx:
            await tx.messages.append(made.id, (answers[-1],), Usage())
            await tx.messages.replace_answers(caller.owner_id, made.id, question.id, runs[-1].id)
    fork = await forks.fork(caller, Fork(message_id=answers[1].id), None)
    async with storage.read() as tx:
        copies = (await tx.messages.list(caller.owner_id, fork.id, PageRequest(), newest_first=False)).items
        wanted = MessageFilter(conversation_id=fork.id)
        found = await tx.search.messages(caller.owner_id, parse_query("second"), wanted, PageRequest())
    assert [(each.text, each.replaced_by_run_id) for each in copies] == [("question", ""), ("second", "")]
    assert fork.message_count == 2
    assert [each.id for each in found.items] == [copies[1].id]


async def test_a_repeat_gives_the_same_fork_whatever_became_of_the_original(
    storage: Storage, desk: Desk, forks: Forking, caller: Caller
) -> None:
    said = await talk(storage, desk, caller)
    fork = Fork(message_id=said[0].id, title="New")
    made = await forks.fork(caller, fork, key(caller))
    await desk.conversations.delete(caller, said[0].conversation_id)
    assert await forks.fork(caller, fork, key(caller)) == made
    with pytest.raises(RequestIdReused):
        await forks.fork(caller, fork, key(caller, b"other"))
    await desk.conversations.delete(caller, made.id)
    with pytest.raises(ConversationNotFound):
        await forks.fork(caller, fork, key(caller))


async def test_what_is_not_there_cannot_be_forked(
    storage: Storage, desk: Desk, forks: Forking, caller: Caller, stranger: Caller
) -> None:
    said = await talk(storage, desk, caller)
    async with storage.write() as tx:
        await tx.messages.remove(caller.owner_id, said[2], NOW)
    for who, message_id in ((stranger, said[0].id), (caller, "msg_none"), (caller, said[2].id)):
        with pytest.raises(MessageNotFound):
            await forks.fork(who, Fork(message_id=message_id), key(who))
    # A refused request left no trace: its id is free.
    await forks.fork(caller, Fork(message_id=said[0].id), key(caller, b"other"))


@pytest.mark.parametrize(("bound", "value"), [("MAX_MESSAGES", 2), ("MAX_BYTES", 23)])
async def test_more_than_a_fork_takes_is_refused(
    storage: Storage,
    desk: Desk,
    forks: Forking,
    caller: Caller,
    monkeypatch: pytest.MonkeyPatch,
    bound: str,
    value: int,
) -> None:
    said = await talk(storage, desk, caller)
    monkeypatch.setattr(forking, bound, value)
    with pytest.raises(ForkTooLarge) as refused:
        await forks.fork(caller, Fork(message_id=said[2].id), None)
    assert (refused.value.metadata["messages"], refused.value.metadata["bytes"]) == ("3", "24")
    await forks.fork(caller, Fork(message_id=said[1].id), None)


async def test_a_fork_of_many_messages_has_them_all(
    storage: Storage, desk: Desk, forks: Forking, caller: Caller
) -> None:
    made = await desk.conversations.create(caller, ConversationValues(), None)
    run = await start_run(storage, made)
    said = tuple(a_message(made, run.id, text=f"word{number}") for number in range(600))
    async with storage.write() as tx:
        await tx.messages.append(made.id, said, Usage())
    fork = await forks.fork(caller, Fork(message_id=said[-1].id), None)
    async with storage.read() as tx:
        page = await tx.messages.list(caller.owner_id, fork.id, PageRequest(size=1000), newest_first=False)
    assert [each.copied_from for each in page.items] == [each.id for each in said]
    assert sorted(each.id for each in page.items) == [each.id for each in page.items]
