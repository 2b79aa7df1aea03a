"""What a store guarantees of what a run starts from."""

import asyncio
from dataclasses import replace

import pytest

from chatter_grpc.core.conversations import Conversation
from chatter_grpc.core.errors import AccountDisabled, ConversationNotFound
from chatter_grpc.core.requests import EarlierRequest, RequestKey
from chatter_grpc.core.starts import Asker, Held
from chatter_grpc.core.storage import Storage, Transaction
from chatter_grpc.core.usage import Usage
from chatter_grpc.core.users import User, UserState
from tests.support.records import NOW, a_message, a_run, store_conversation, store_user


def a_key(owner: User) -> RequestKey:
    return RequestKey(owner_id=owner.id, method="/m", request_id="r1", payload_hash=b"h")


async def hold(tx: Transaction, user: User, conversation: Conversation, run_id: str = "run_1") -> Held:
    asker = Asker(actor_id=user.id, owner_id=user.id)
    return await tx.starts.hold(asker, conversation.id, a_key(user), run_id, NOW)


async def test_who_holds_a_start_is_given_account_and_conversation_and_has_claimed_the_request(
    storage: Storage,
) -> None:
    user = await store_user(storage)
    conversation = await store_conversation(storage, user.id)
    async with storage.write() as tx:
        held = await hold(tx, user, conversation)
    assert held == Held(account=user, conversation=conversation, last_index=0)
    async with storage.write() as tx:
        assert (await hold(tx, user, conversation, "run_2")).earlier == EarlierRequest(
            resource_id="run_1", payload_hash=b"h"
        )


async def test_the_last_index_counts_messages_that_were_deleted(storage: Storage) -> None:
    user = await store_user(storage)
    conversation = await store_conversation(storage, user.id)
    run = a_run(conversation)
    async with storage.write() as tx:
        said = tuple(a_message(conversation, run.id) for _ in range(3))
        await tx.messages.append(conversation.id, said, Usage())
        await tx.messages.remove(user.id, await tx.messages.get(user.id, said[2].id), NOW)
    async with storage.write() as tx:
        held = await hold(tx, user, conversation)
        assert (held.last_index, held.conversation.message_count) == (3, 2)
        more = (a_message(conversation, "run_1"), a_message(conversation, "run_1"))
        assert await tx.messages.append(conversation.id, more, Usage(), after=held.last_index) == 4
        assert [(await tx.messages.get(user.id, each.id)).index for each in more] == [4, 5]
    async with storage.write() as tx:
        assert (await hold(tx, user, conversation)).last_index == 5


async def test_a_disabled_account_starts_nothing_and_claims_nothing(storage: Storage) -> None:
    user = await store_user(storage)
    conversation = await store_conversation(storage, user.id)
    async with storage.write() as tx:
        await tx.users.replace(replace(user, state=UserState.DISABLED))
    async with storage.write() as tx:
        with pytest.raises(AccountDisabled):
            await hold(tx, user, conversation)
    await unclaimed(storage, user)


async def test_nothing_starts_in_a_conversation_of_another_or_one_that_is_deleted(storage: Storage) -> None:
    user = await store_user(storage)
    foreign = await store_conversation(storage)
    deleted = await store_conversation(storage, user.id, deleted_at=NOW)
    for conversation in (foreign, deleted, replace(foreign, id="conv_none")):
        async with storage.write() as tx:
            with pytest.raises(ConversationNotFound):
                await hold(tx, user, conversation)
    await unclaimed(storage, user)


async def unclaimed(storage: Storage, user: User) -> None:
    async with storage.write() as tx:
        assert await tx.requests.claim(a_key(user), "run_2", NOW) is None


async def test_of_two_that_hold_one_start_at_once_the_second_sees_what_the_first_made(storage: Storage) -> None:
    user = await store_user(storage)
    conversation = await store_conversation(storage, user.id)

    async def start(run_id: str) -> str:
        async with storage.write() as tx:
            earlier = (await hold(tx, user, conversation, run_id)).earlier
            await asyncio.sleep(0.02)
            return run_id if earlier is None else earlier.resource_id

    first, second = await asyncio.gather(start("run_1"), start("run_2"))
    assert first == second


async def test_an_account_that_is_held_is_disabled_afterwards(storage: Storage) -> None:
    user = await store_user(storage)
    conversation = await store_conversation(storage, user.id)

    async def disable() -> None:
        async with storage.write() as tx:
            held = await tx.users.lock(user.id)
            assert held is not None
            await tx.users.replace(replace(held, state=UserState.DISABLED))

    async with storage.write() as tx:
        await hold(tx, user, conversation)
        disabling = asyncio.create_task(disable())
        await asyncio.sleep(0.05)
        assert not disabling.done()
    await disabling
