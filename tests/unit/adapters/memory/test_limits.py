"""Limits in memory are exact over any window, and keep nothing of windows that ended."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatter_grpc.adapters.memory.limits import MemoryRateLimiter
from chatter_grpc.core.limits import Limit

FIVE = Limit(amount=5, seconds=60)


class Seconds:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_hits_are_allowed_up_to_the_amount_and_then_refused() -> None:
    limiter = MemoryRateLimiter(Seconds())
    assert [(await limiter.hit("a", FIVE)).allowed for _ in range(6)] == [True] * 5 + [False]


async def test_what_remains_is_told() -> None:
    limiter = MemoryRateLimiter(Seconds())
    assert [(await limiter.hit("a", FIVE)).remaining for _ in range(6)] == [4, 3, 2, 1, 0, 0]


async def test_the_oldest_hit_says_when_there_is_more() -> None:
    clock = Seconds()
    limiter = MemoryRateLimiter(clock)
    await limiter.hit("a", FIVE)
    clock.now += 10
    for _ in range(4):
        await limiter.hit("a", FIVE)
    assert (await limiter.hit("a", FIVE)).reset_after == 50
    clock.now += 50
    assert (await limiter.hit("a", FIVE)).allowed
    assert not (await limiter.hit("a", FIVE)).allowed


async def test_a_cost_is_taken_whole_or_not_at_all() -> None:
    limiter = MemoryRateLimiter(Seconds())
    assert (await limiter.hit("a", FIVE, cost=3)).allowed
    refused = await limiter.hit("a", FIVE, cost=3)
    assert (refused.allowed, refused.remaining) == (False, 2)
    assert (await limiter.hit("a", FIVE, cost=2)).allowed


async def test_a_cost_above_the_amount_is_never_allowed() -> None:
    limiter = MemoryRateLimiter(Seconds())
    assert not (await limiter.hit("a", FIVE, cost=6)).allowed
    assert len(limiter) == 0


async def test_keys_and_limits_do_not_share() -> None:
    limiter = MemoryRateLimiter(Seconds())
    for _ in range(5):
        await limiter.hit("a", FIVE)
    assert (await limiter.hit("b", FIVE)).allowed
    assert (await limiter.hit("a", Limit(amount=5, seconds=61))).allowed
    assert (await limiter.hit("a", Limit(amount=6, seconds=60))).allowed


async def test_looking_takes_nothing() -> None:
    limiter = MemoryRateLimiter(Seconds())
    for _ in range(5):
        assert (await limiter.peek("a", FIVE)).allowed
        await limiter.hit("a", FIVE)
    looked = await limiter.peek("a", FIVE)
    assert (looked.allowed, looked.remaining, looked.reset_after) == (False, 0, 60)


async def test_a_cleared_key_begins_again() -> None:
    limiter = MemoryRateLimiter(Seconds())
    for _ in range(5):
        await limiter.hit("a", FIVE)
    await limiter.clear("a", FIVE)
    assert (await limiter.hit("a", FIVE)).remaining == 4
    await limiter.clear("never seen", FIVE)


async def test_windows_that_ended_are_forgotten() -> None:
    clock = Seconds()
    limiter = MemoryRateLimiter(clock)
    for number in range(1000):
        await limiter.hit(f"k{number}", FIVE)
        clock.now += 1
    # Of 1,000 windows of 60 s, a second apart, 60 are still live.
    assert len(limiter) == 60


async def test_a_key_that_is_still_hit_does_not_keep_others() -> None:
    clock = Seconds()
    limiter = MemoryRateLimiter(clock)
    await limiter.hit("busy", FIVE)
    for number in range(100):
        await limiter.hit(f"k{number}", FIVE)
    for _ in range(120):
        clock.now += 1
        await limiter.hit("busy", FIVE)
    assert len(limiter) == 1


async def test_everything_can_be_forgotten_at_once() -> None:
    limiter = MemoryRateLimiter(Seconds())
    await limiter.hit("a", FIVE)
    await limiter.hit("b", FIVE)
    assert await limiter._storage.check()
    assert await limiter._storage.reset() == 2
    assert len(limiter) == 0


async def test_fixed_windows_are_refused_instead_of_miscounted() -> None:
    storage = MemoryRateLimiter(Seconds())._storage
    for call in (storage.incr("a", 60), storage.get("a"), storage.get_expiry("a")):
        with pytest.raises(NotImplementedError):
            await call


async def test_no_task_is_left_behind() -> None:
    limiter = MemoryRateLimiter()
    for number in range(100):
        await limiter.hit(f"k{number}", FIVE)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_parallel_hits_take_no_more_than_there_is() -> None:
    limiter = MemoryRateLimiter()
    decisions = await asyncio.gather(*(limiter.hit("a", FIVE) for _ in range(50)))
    assert sum(decision.allowed for decision in decisions) == 5


@given(st.lists(st.tuples(st.integers(min_value=0, max_value=30), st.integers(min_value=1, max_value=6)), max_size=40))
def test_no_window_of_time_ever_holds_more_than_the_amount(steps: list[tuple[int, int]]) -> None:
    async def run() -> None:
        clock = Seconds()
        limiter = MemoryRateLimiter(clock)
        taken: list[tuple[float, int]] = []
        for wait, cost in steps:
            clock.now += wait
            held = sum(amount for at, amount in taken if at > clock.now - FIVE.seconds)
            decision = await limiter.hit("a", FIVE, cost=cost)
            assert decision.allowed == (held + cost <= FIVE.amount)
            if decision.allowed:
                taken.append((clock.now, cost))

    asyncio.run(run())
