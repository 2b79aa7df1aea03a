"""Quotas of messages: counted with the start of a run, by account, in days and months of UTC."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from chatter_grpc.adapters.models.scripted import ScriptedChat, answer_script
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.conversations import Conversation, ModelSettings
from chatter_grpc.core.errors import MessageQuotaExceeded
from chatter_grpc.core.quotas import MessageQuota, count_message
from chatter_grpc.core.runs.run import LogCommitter
from chatter_grpc.core.storage import Storage
from chatter_grpc.core.users import User, UserLimits
from tests.support.catalogues import Catalogue
from tests.support.records import store_conversation
from tests.support.replicas import MANY_RUNS, Process, stored_messages

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
TWO_A_DAY = MessageQuota(per_day=2)
Count = Callable[..., Awaitable[MessageQuotaExceeded | None]]


@pytest.fixture
async def user(storage: Storage, caller: Caller) -> User:
    async with storage.read() as tx:
        found = await tx.users.get(caller.actor_id)
    assert found is not None
    return found


@pytest.fixture
def count(storage: Storage, user: User) -> Count:
    async def count(
        now: datetime = NOON, quota: MessageQuota = TWO_A_DAY, limits: UserLimits | None = None
    ) -> MessageQuotaExceeded | None:
        """Count a message as a start does, and return how that is refused."""
        try:
            async with storage.write() as tx:
                await count_message(tx.message_counts, replace(user, limits=limits or UserLimits()), quota, now)
        except MessageQuotaExceeded as error:
            return error
        return None

    return count


async def test_a_day_is_over_at_midnight_utc(count: Count) -> None:
    late = NOON.replace(hour=23, minute=59, second=30)
    assert [await count(late) for _ in range(2)] == [None, None]
    refused = await count(late)
    assert refused is not None
    assert refused.metadata == {"period": "day", "limit": "2"}
    assert refused.retry_after == 30
    assert await count(late + timedelta(seconds=30)) is None


async def test_the_day_is_that_of_utc_wherever_the_clock_stands(count: Count) -> None:
    east = timezone(timedelta(hours=9))
    assert [await count(NOON.astimezone(east)) for _ in range(2)] == [None, None]
    assert await count(NOON.replace(hour=23)) is not None


async def test_a_month_has_as_many_days_as_it_has(count: Count) -> None:
    quota = MessageQuota(per_month=3)
    days = (NOON.replace(day=1), NOON, NOON.replace(day=30))
    assert [await count(day, quota) for day in days] == [None] * 3
    refused = await count(NOON.replace(day=30), quota)
    assert refused is not None
    assert refused.metadata == {"period": "month", "limit": "3"}
    assert refused.retry_after == 12 * 3600
    assert await count(datetime(2026, 12, 1, tzinfo=UTC), quota) is None


async def test_december_is_followed_by_january(count: Count) -> None:
    quota = MessageQuota(per_month=1)
    december = datetime(2026, 12, 31, 23, tzinfo=UTC)
    assert await count(december, quota) is None
    refused = await count(december, quota)
    assert refused is not None
    assert refused.retry_after == 3600


async def test_what_is_refused_is_not_counted(count: Count) -> None:
    answers = [await count() for _ in range(5)]
    assert [answer is None for answer in answers] == [True, True, False, False, False]
    assert await count(quota=MessageQuota(per_day=3)) is None


@pytest.mark.parametrize(
    ("limits", "allowed"),
    [
        (UserLimits(messages_per_day=3), 3),
        (UserLimits(messages_per_day=1), 1),
        (UserLimits(messages_per_day=0), 0),
        (UserLimits(messages_per_month=1), 1),
        (UserLimits(messages_per_month=5), 2),
    ],
)
async def test_the_limits_of_an_account_go_before_those_of_the_server(
    count: Count, limits: UserLimits, allowed: int
) -> None:
    answers = [await count(limits=limits) for _ in range(6)]
    assert [answer is None for answer in answers] == [True] * allowed + [False] * (6 - allowed)


async def test_where_no_limit_is_in_force_nothing_is_written(count: Count, storage: Storage, user: User) -> None:
    assert await count(quota=MessageQuota()) is None
    async with storage.write() as tx:
        assert await tx.message_counts.add(user.id, NOON.date()) == 1


def process(storage: Storage, committer: LogCommitter) -> Process:
    limits = replace(MANY_RUNS, messages=TWO_A_DAY)
    return Process(storage, committer, Catalogue({"model": ScriptedChat(answer_script("Yes."))}), limits=limits)


async def test_a_start_that_is_refused_leaves_nothing_behind_and_a_repeat_costs_nothing(
    storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation
) -> None:
    async with process(storage, committer) as here:
        first = await here.send(caller, conversation.id, request_id="r1")
        await here.follow(caller, first)
        assert [await here.send(caller, conversation.id, request_id="r1") for _ in range(5)] == [first] * 5
        await here.answer(caller, conversation.id)
        with pytest.raises(MessageQuotaExceeded):
            await here.send(caller, conversation.id, request_id="r3")
        assert len(await stored_messages(storage, caller, conversation.id)) == 4
        assert await here.send(caller, conversation.id, request_id="r1") == first


async def test_the_subjects_of_a_service_count_together(
    storage: Storage, committer: LogCommitter, caller: Caller
) -> None:
    async with process(storage, committer) as here:
        for number in range(3):
            async with storage.write() as tx:
                owner_id = await tx.users.subject_owner(caller.actor_id, f"subject {number}", f"subj_{number}", NOON)
            subject = replace(caller, owner_id=owner_id)
            conversation = await store_conversation(storage, owner_id, settings=ModelSettings())
            if number < 2:
                await here.answer(subject, conversation.id)
            else:
                with pytest.raises(MessageQuotaExceeded):
                    await here.send(subject, conversation.id)


async def test_starts_at_once_get_no_more_than_there_is(
    storage: Storage, committer: LogCommitter, caller: Caller
) -> None:
    conversations = [await store_conversation(storage, caller.owner_id, settings=ModelSettings()) for _ in range(6)]
    async with process(storage, committer) as here:
        started = await asyncio.gather(
            *(here.send(caller, conversation.id) for conversation in conversations), return_exceptions=True
        )
        assert sorted(type(each).__name__ for each in started) == ["MessageQuotaExceeded"] * 4 + ["str"] * 2
        for run_id in started:
            if isinstance(run_id, str):
                await here.follow(caller, run_id)
