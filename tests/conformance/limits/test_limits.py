"""What every ``RateLimiter`` does, in the process and on Redis."""

import asyncio

from chatter_grpc.core.limits import Limit, RateLimiter

FIVE = Limit(amount=5, seconds=60)
SHORT = Limit(amount=2, seconds=1)


async def test_hits_are_allowed_up_to_the_amount_and_then_refused(limiter: RateLimiter) -> None:
    decisions = [await limiter.hit("a", FIVE) for _ in range(6)]
    assert [each.allowed for each in decisions] == [True] * 5 + [False]
    assert [each.remaining for each in decisions] == [4, 3, 2, 1, 0, 0]
    assert all(50 < each.reset_after <= 60 for each in decisions)


async def test_a_cost_is_taken_whole_or_not_at_all(limiter: RateLimiter) -> None:
    assert (await limiter.hit("a", FIVE, cost=3)).allowed
    refused = await limiter.hit("a", FIVE, cost=3)
    assert (refused.allowed, refused.remaining) == (False, 2)
    assert (await limiter.hit("a", FIVE, cost=2)).allowed


async def test_a_cost_above_the_amount_is_never_allowed(limiter: RateLimiter) -> None:
    refused = await limiter.hit("a", FIVE, cost=6)
    assert (refused.allowed, refused.remaining) == (False, 5)


async def test_keys_and_limits_do_not_share(limiter: RateLimiter) -> None:
    for _ in range(5):
        await limiter.hit("a", FIVE)
    assert (await limiter.hit("b", FIVE)).allowed
    assert (await limiter.hit("a", Limit(amount=5, seconds=61))).allowed
    assert (await limiter.hit("a", Limit(amount=6, seconds=60))).allowed


async def test_looking_takes_nothing(limiter: RateLimiter) -> None:
    fresh = await limiter.peek("a", FIVE)
    assert (fresh.allowed, fresh.remaining) == (True, 5)
    assert 59 < fresh.reset_after <= 60
    for _ in range(5):
        assert (await limiter.peek("a", FIVE)).allowed
        await limiter.hit("a", FIVE)
    looked = await limiter.peek("a", FIVE)
    assert (looked.allowed, looked.remaining) == (False, 0)


async def test_a_cleared_key_begins_again(limiter: RateLimiter) -> None:
    for _ in range(5):
        await limiter.hit("a", FIVE)
    await limiter.clear("a", FIVE)
    assert (await limiter.hit("a", FIVE)).remaining == 4
    await limiter.clear("never seen", FIVE)


async def test_units_come_back_when_their_window_has_passed(limiter: RateLimiter) -> None:
    for _ in range(2):
        assert (await limiter.hit("a", SHORT)).allowed
    refused = await limiter.hit("a", SHORT)
    assert not refused.allowed
    await asyncio.sleep(refused.reset_after + 0.02)
    assert (await limiter.hit("a", SHORT)).allowed


async def test_parallel_hits_take_no_more_than_there_is(limiter: RateLimiter) -> None:
    decisions = await asyncio.gather(*(limiter.hit("a", FIVE) for _ in range(50)))
    assert sum(decision.allowed for decision in decisions) == 5


async def test_a_key_may_be_any_text(limiter: RateLimiter) -> None:
    for key in ("owner:user_1", "peer:2001:db8::/64", "", "a b\n*?[]\x00é"):
        assert (await limiter.hit(key, FIVE)).remaining == 4
