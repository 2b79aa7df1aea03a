"""Addresses are counted by what one customer holds, and turns are forgotten when nobody waits."""

import asyncio

import pytest

from chatter_grpc.core import login_throttle
from chatter_grpc.core.errors import LoginThrottled
from chatter_grpc.core.login_throttle import _Turns, network_of


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("not an address", "not an address"),
    ],
)
def test_an_address_stands_for_its_network(address: str, network: str) -> None:
    assert network_of(address) == network


async def test_turns_under_one_key_follow_one_another_and_leave_nothing() -> None:
    turns = _Turns()
    at_work: list[int] = []

    async def work() -> None:
        async with turns.take("a"):
            at_work.append(1)
            assert len(at_work) == 1
            await asyncio.sleep(0)
            at_work.pop()

    await asyncio.gather(*(work() for _ in range(10)))
    assert turns._turns == {}


async def test_other_keys_do_not_wait() -> None:
    turns = _Turns()
    async with turns.take("a"), turns.take("b"):
        pass
    assert turns._turns == {}


async def test_whoever_waits_too_long_for_a_turn_is_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_throttle, "TURN_DEADLINE", 0.001)
    turns = _Turns()
    async with turns.take("a"):
        with pytest.raises(LoginThrottled):
            async with turns.take("a"):
                pass
    assert turns._turns == {}
