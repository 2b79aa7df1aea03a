"""Budgets: what is left of one, what a call is given, and at what it is settled, whatever becomes of its attempt."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatter_grpc.core.budgets import (
    Budget,
    Grant,
    ModelCall,
    Reservation,
    lost_usage,
    most_read,
    reserve,
)
from chatter_grpc.core.errors import BudgetExceeded, BudgetUnpriced
from chatter_grpc.core.models import Price, TokenCount
from chatter_grpc.core.usage import Usage, usage_of

# 2 and 8 dollars for a million tokens.
PRICE = Price(input_micros=2_000_000, output_micros=8_000_000)


def a_call(message_id: str = "msg", **changes: object) -> ModelCall:
    call = ModelCall(message_id=message_id, model="p/m", input_tokens=10, max_tokens=None, price=PRICE)
    return replace(call, **changes)  # type: ignore[arg-type]


def taken(tokens: int, *, attempt: int = 1, settled: bool = True) -> Reservation:
    """A call that has taken, or may take, so many tokens of output."""
    usage = usage_of(TokenCount(0, tokens), PRICE, estimated=False)
    return Reservation(
        message_id="earlier",
        attempt=attempt,
        model="p/m",
        input_tokens=0,
        output_tokens=tokens,
        price=PRICE,
        settled=usage if settled else None,
    )


def given_output(grant: Grant | None) -> int:
    assert grant is not None
    return grant.reservation.output_tokens


def test_of_two_budgets_the_smaller_bounds_hold() -> None:
    asked = Budget(max_tokens=100, max_milliseconds=5)
    server = Budget(max_tokens=70, max_cost_micros=9, max_milliseconds=1_000)
    assert asked.within(server) == Budget(max_tokens=70, max_cost_micros=9, max_milliseconds=5)
    assert Budget().within(server) == server.within(Budget()) == server


@pytest.mark.parametrize(("budget", "limited"), [(Budget(), False), (Budget(max_milliseconds=1), False)])
def test_time_alone_is_no_matter_of_the_ledger(budget: Budget, limited: bool) -> None:
    assert budget.limits_usage is limited
    assert replace(budget, max_tokens=1).limits_usage
    assert replace(budget, max_cost_micros=1).limits_usage


def test_a_run_may_take_as_long_as_its_budget_and_the_server_allow() -> None:
    assert Budget().seconds_within(300.0) == 300.0
    assert Budget(max_milliseconds=1_500).seconds_within(300.0) == 1.5
    assert Budget(max_milliseconds=1_500).seconds_within(0.5) == 0.5


def test_a_call_is_given_what_is_left_after_its_input() -> None:
    assert given_output(reserve(Budget(max_tokens=100), [taken(30)], a_call())) == 60


def test_a_call_is_given_no_more_than_it_asks_for() -> None:
    grant = reserve(Budget(max_tokens=100), [], a_call(max_tokens=5))
    assert given_output(grant) == 5
    assert grant is not None
    assert grant.shortage is None


def test_what_is_given_less_than_was_asked_for_says_which_bound_did_it() -> None:
    grant = reserve(Budget(max_tokens=100), [], a_call(max_tokens=91))
    assert given_output(grant) == 90
    assert grant is not None
    assert isinstance(grant.shortage, BudgetExceeded)
    assert grant.shortage.metadata["bound"] == "max_tokens"


def test_money_is_turned_into_tokens_by_the_models_price() -> None:
    # 10 tokens of input cost 20 micro-dollars, and one of output 8.
    assert given_output(reserve(Budget(max_cost_micros=100), [], a_call())) == 10
    assert given_output(reserve(Budget(max_cost_micros=100, max_tokens=15), [], a_call())) == 5


def test_what_costs_nothing_is_not_bounded_by_money() -> None:
    free = Price(input_micros=0, output_micros=0)
    assert given_output(reserve(Budget(max_cost_micros=1), [], a_call(price=free, max_tokens=7))) == 7


def test_a_model_without_a_price_is_refused_under_a_bound_on_money_alone() -> None:
    with pytest.raises(BudgetUnpriced):
        reserve(Budget(max_cost_micros=1_000), [], a_call(price=None))
    assert given_output(reserve(Budget(max_tokens=11), [], a_call(price=None))) == 1


@pytest.mark.parametrize(
    ("budget", "bound", "left", "needed"),
    [
        (Budget(max_tokens=40), "max_tokens", "10", "11"),
        (Budget(max_cost_micros=260), "max_cost_micros", "20", "28"),
        (Budget(max_tokens=20), "max_tokens", "0", "11"),
    ],
)
def test_a_call_for_which_not_even_one_token_is_left_is_refused(
    budget: Budget, bound: str, left: str, needed: str
) -> None:
    with pytest.raises(BudgetExceeded) as caught:
        reserve(budget, [taken(30)], a_call())
    found = {key: caught.value.metadata[key] for key in ("bound", "left", "needed")}
    assert found == {"bound": bound, "left": left, "needed": needed}


def test_what_another_call_holds_is_waited_for_and_what_a_lost_attempt_held_is_not() -> None:
    budget = Budget(max_tokens=100)
    assert reserve(budget, [taken(85, settled=False)], a_call()) is None, "nothing is left of it now"
    assert reserve(budget, [taken(50, settled=False)], a_call(max_tokens=41)) is None, "too little is"
    assert given_output(reserve(budget, [taken(50, settled=False)], a_call(max_tokens=40))) == 40
    with pytest.raises(BudgetExceeded):
        reserve(budget, [taken(90, settled=False)], a_call(), attempt=2)


def test_a_lost_call_takes_its_input_as_estimated_and_its_output_as_committed() -> None:
    open_call = taken(50, settled=False)
    assert lost_usage(10, 3, PRICE) == Usage(input_tokens=10, output_tokens=3, cost_micros=44, estimated=True)
    assert lost_usage(0, 3, None, replace(open_call, input_tokens=10)) == lost_usage(10, 3, PRICE)
    assert lost_usage(10, 3, None).cost_micros is None
    known = replace(open_call, settled=Usage(input_tokens=1, output_tokens=2, cost_micros=3))
    assert lost_usage(10, 9, PRICE, known) == known.settled, "the ledger had been told what it took"


def test_a_provider_is_read_on_for_a_margin_beyond_what_it_was_asked_for() -> None:
    assert [most_read(tokens) for tokens in (1, 100)] == [66, 264]


@dataclass(slots=True)
class Spent:
    """A ledger, with what providers gave beyond what they were asked for."""

    budget: Budget
    rows: dict[str, Reservation] = field(default_factory=dict)
    settlings: dict[str, int] = field(default_factory=dict)
    attempt: int = 1
    beyond: Usage = field(default_factory=Usage)

    def reserve(self, call: ModelCall) -> None:
        """Reserve where that may be, as one of several branches."""
        try:
            grant = reserve(self.budget, self.rows.values(), call, self.attempt)
        except BudgetExceeded:
            return
        if grant is not None:
            self.rows[call.message_id] = grant.reservation

    def settle(self, index: int, share: float, beyond: int) -> None:
        """End one of the open calls, which took a share of what it was given, or something beyond all of it."""
        if not (still := self.open):
            return
        row = still[index % len(still)]
        output = row.output_tokens + beyond if beyond else int(row.output_tokens * share)
        usage = usage_of(TokenCount(row.input_tokens, output), row.price, estimated=False)
        if beyond:
            cost = (usage.cost_micros or 0) - (row.taken.cost_micros or 0)
            self.beyond += Usage(output_tokens=beyond, cost_micros=cost)
        self._settle(row, usage)

    def lose(self, share: float) -> None:
        """Lose the attempt; what is open is settled by the one that goes on."""
        for row in self.open:
            self._settle(row, lost_usage(row.input_tokens, int(row.output_tokens * share), row.price, row))
        self.attempt += 1

    @property
    def open(self) -> list[Reservation]:
        return [row for row in self.rows.values() if row.settled is None]

    def _settle(self, row: Reservation, usage: Usage) -> None:
        self.rows[row.message_id] = replace(row, settled=usage)
        self.settlings[row.message_id] = self.settlings.get(row.message_id, 0) + 1


PRICES = st.builds(Price, input_micros=st.integers(0, 5_000_000), output_micros=st.integers(0, 5_000_000))
RESERVE = st.builds(
    lambda tokens, most, price: ("reserve", tokens, most, price),
    st.integers(0, 60),
    st.none() | st.integers(1, 60),
    PRICES,
)
SETTLE = st.builds(
    lambda index, share, beyond: ("settle", index, share, beyond),
    st.integers(0, 5),
    st.floats(0, 1),
    st.just(0) | st.just(0) | st.integers(1, 40),
)
LOSE = st.builds(lambda share: ("lose", share), st.floats(0, 1))


@given(
    budget=st.builds(
        Budget, max_tokens=st.none() | st.integers(1, 300), max_cost_micros=st.none() | st.integers(1, 900)
    ),
    steps=st.lists(RESERVE | RESERVE | SETTLE | LOSE, max_size=40),
)
def test_over_all_branches_and_attempts_no_more_is_taken_than_the_budget_has(
    budget: Budget, steps: list[tuple[object, ...]]
) -> None:
    spent = Spent(budget)
    for number, (what, *details) in enumerate(steps):
        if what == "reserve":
            tokens, most, price = details
            spent.reserve(a_call(f"msg_{number}", input_tokens=tokens, max_tokens=most, price=price))
        elif what == "settle":
            spent.settle(*details)  # type: ignore[arg-type]
        else:
            spent.lose(*details)  # type: ignore[arg-type]
        total = sum((row.taken for row in spent.rows.values()), Usage())
        assert total.cost_micros is not None
        assert spent.beyond.cost_micros is not None
        if budget.max_tokens is not None:
            beyond = spent.beyond.input_tokens + spent.beyond.output_tokens
            assert total.input_tokens + total.output_tokens <= budget.max_tokens + beyond
        if budget.max_cost_micros is not None:
            assert total.cost_micros <= budget.max_cost_micros + spent.beyond.cost_micros
    spent.lose(1.0)
    assert not spent.open
    assert set(spent.settlings.values()) <= {1}
