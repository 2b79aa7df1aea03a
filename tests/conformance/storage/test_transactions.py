"""What holds of transactions, whatever is in them."""

import asyncio
from contextlib import suppress

import pytest

from chatter_grpc.core.errors import ConversationNotFound, StorageUnavailable
from chatter_grpc.core.storage import Storage
from tests.support.records import a_conversation, a_user, store_conversation, store_user


async def test_what_a_block_wrote_is_there_when_it_has_ended(storage: Storage) -> None:
    user = await store_user(storage)
    async with storage.read() as tx:
        assert await tx.users.get(user.id) == user


async def test_a_block_that_raises_leaves_nothing_behind(storage: Storage) -> None:
    user = a_user()
    with suppress(LookupError):
        async with storage.write() as tx:
            await tx.users.add(user)
            await tx.conversations.add(a_conversation(user.id))
            raise LookupError
    async with storage.read() as tx:
        assert await tx.users.get(user.id) is None


async def test_a_block_that_is_cancelled_leaves_nothing_behind_and_lets_others_write(storage: Storage) -> None:
    user = a_user()
    written = asyncio.Event()

    async def write() -> None:
        async with storage.write() as tx:
            await tx.users.add(user)
            written.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(write())
    await written.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store_user(storage)
    async with storage.read() as tx:
        assert await tx.users.get(user.id) is None


async def test_others_do_not_see_what_is_not_committed(storage: Storage) -> None:
    user = a_user()
    async with storage.write() as tx:
        await tx.users.add(user)
        assert await tx.users.get(user.id) == user
        async with storage.read() as other:
            assert await other.users.get(user.id) is None


async def test_a_reading_transaction_sees_one_state_from_its_first_statement_on(storage: Storage) -> None:
    conversation = await store_conversation(storage)
    async with storage.read() as tx:
        before = await tx.users.get(conversation.owner_id)
        later = await store_conversation(storage, conversation.owner_id)
        assert await tx.users.get(conversation.owner_id) == before
        with pytest.raises(ConversationNotFound):
            await tx.conversations.get(later.owner_id, later.id)


async def test_an_error_of_the_caller_passes_through_as_it_is(storage: Storage) -> None:
    for error in (TimeoutError("mine"), OSError("mine")):
        with pytest.raises(type(error), match="mine"):
            async with storage.write():
                raise error


async def test_a_reading_transaction_cannot_write(storage: Storage) -> None:
    with pytest.raises(Exception, match=r"(?i)read-?only") as raised:
        async with storage.read() as tx:
            await tx.users.add(a_user())
    assert not isinstance(raised.value, StorageUnavailable)


async def test_a_database_that_answers_gives_a_sign_of_life(storage: Storage) -> None:
    await storage.ping()


async def test_many_transactions_at_once_all_come_to_their_end(storage: Storage) -> None:
    owner = await store_user(storage)

    async def work() -> str:
        conversation = await store_conversation(storage, owner.id)
        async with storage.read() as tx:
            return (await tx.conversations.get(owner.id, conversation.id)).id

    ids = await asyncio.gather(*(work() for _ in range(40)))
    assert len(set(ids)) == 40
