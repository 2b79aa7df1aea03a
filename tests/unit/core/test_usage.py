"""Usage: tokens and money add up, and what is not known stays unknown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatter_grpc.core.models import Price, TokenCount
from chatter_grpc.core.usage import Usage, estimate_tokens, usage_of

COUNTS = st.integers(min_value=0, max_value=10**12)
USAGES = st.builds(
    Usage,
    input_tokens=COUNTS,
    output_tokens=COUNTS,
    cost_micros=st.none() | COUNTS,
    estimated=st.booleans(),
)


@given(USAGES, USAGES, USAGES)
def test_sums_do_not_depend_on_order(one: Usage, two: Usage, three: Usage) -> None:
    assert one + two == two + one
    assert (one + two) + three == one + (two + three)
    assert one + Usage() == one


def test_an_unknown_cost_makes_the_sum_unknown_and_an_estimate_makes_it_estimated() -> None:
    known = Usage(input_tokens=1, output_tokens=2, cost_micros=3)
    assert (known + Usage(cost_micros=None)).cost_micros is None
    assert not (known + known).estimated
    assert (known + Usage(estimated=True)).estimated
    assert (known + known).cost_micros == 6


@pytest.mark.parametrize(
    ("count", "cost"),
    [
        (TokenCount(0, 0), 0),
        (TokenCount(1_000_000, 0), 150_000),
        (TokenCount(1_000_000, 1_000_000), 750_000),
        (TokenCount(1, 0), 1),
        (TokenCount(7, 1), 2),
    ],
)
def test_a_call_costs_what_its_tokens_cost_rounded_up(count: TokenCount, cost: int) -> None:
    usage = usage_of(count, Price(input_micros=150_000, output_micros=600_000), estimated=False)
    assert usage.cost_micros == cost
    assert (usage.input_tokens, usage.output_tokens) == (count.input_tokens, count.output_tokens)


def test_without_a_price_the_cost_is_unknown() -> None:
    assert usage_of(TokenCount(1, 1), None, estimated=True) == Usage(
        input_tokens=1, output_tokens=1, cost_micros=None, estimated=True
    )


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("漢字", 2), ("\ud800", 1)])
def test_tokens_are_estimated_by_bytes(text: str, tokens: int) -> None:
    assert estimate_tokens(text) == tokens
