"""Budgets: what a run may take in all, over its steps and attempts, and what is left of that for its next model call.

Each call of a model reserves the most that it may take before it is made, and is settled once at what it took. The sum
of both over all calls of a run is what is taken; a call is given no more than the rest.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final, Protocol

from chatter_grpc.core.errors import BudgetExceeded, BudgetUnpriced
from chatter_grpc.core.models import Price, TokenCount
from chatter_grpc.core.usage import Usage, usage_of

# Prices are for so many tokens.
MILLION: Final = 1_000_000
# Where a provider gives more than it was asked for, it is read on until the estimate is past twice that and so much
# more. The estimate may well be twice the provider's own count, in scripts of several bytes a character above all: an
# answer that keeps to what was asked for is not to be cut off.
MARGIN_FACTOR: Final = 2
MARGIN_TOKENS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a run may take: tokens read and written, money in micro-dollars, time in milliseconds.

    ``None`` is without a bound. Time counts from the start of the first attempt, by the database's clock.
    """

    max_tokens: int | None = None
    max_cost_micros: int | None = None
    max_milliseconds: int | None = None

    @property
    def limits_usage(self) -> bool:
        """Whether model calls have to reserve what they take."""
        return self.max_tokens is not None or self.max_cost_micros is not None

    def within(self, other: "Budget") -> "Budget":
        """Return what holds where both do: of each bound the smaller one."""
        bounds = {}
        for each in fields(self):
            given = [bound for bound in (getattr(self, each.name), getattr(other, each.name)) if bound is not None]
            bounds[each.name] = min(given, default=None)
        return Budget(**bounds)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """A call of a model that is about to be made, by the id of the message that it is to write.

    ``input_tokens`` is an estimate, ``max_tokens`` the most output that it is to be asked for, ``None`` for any.
    """

    message_id: str
    model: str
    input_tokens: int
    max_tokens: int | None
    price: Price | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """What a call of an attempt may take at most, and, once it is ``settled``, what it took."""

    message_id: str
    attempt: int
    model: str
    input_tokens: int
    output_tokens: int
    price: Price | None
    settled: Usage | None = None

    @property
    def taken(self) -> Usage:
        """What counts against the budget."""
        if self.settled is not None:
            return self.settled
        return usage_of(TokenCount(self.input_tokens, self.output_tokens), self.price, estimated=True)


class LedgerStore(Protocol):
    """Keeps the reservations of runs at work, inside a transaction."""

    async def hold(self, owner_id: str, run_id: str, attempt: int) -> Sequence[Reservation] | None:
        """Return a run's reservations, and keep others from holding them until the transaction ends.

        ``None`` where the attempt is not the current one of a run at work: it may reserve nothing any more.
        """
        ...

    async def read(self, run_id: str) -> Sequence[Reservation]:
        """Return a run's reservations, those made first before the others."""
        ...

    async def add(self, run_id: str, reservation: Reservation) -> None:
        """Insert a reservation of a run that this transaction holds."""
        ...

    async def settle(self, run_id: str, usages: Mapping[str, Usage]) -> None:
        """Settle reservations, by their messages' ids, at what the calls took; what is settled stays as it is."""
        ...

    async def close(self, run_id: str) -> None:
        """Forget a run's reservations: it has ended, and its log says what it took."""
        ...


def check_price(budget: Budget, model: str, price: Price | None) -> None:
    """Raise ``BudgetUnpriced`` where a model's price is not known and there is a bound on money."""
    if budget.max_cost_micros is not None and price is None:
        raise BudgetUnpriced(model=model)


def reserve(
    budget: Budget, reservations: Collection[Reservation], call: ModelCall, attempt: int = 1
) -> Reservation | None:
    """Return what a call may take: its input, and as much output as it asks for and the budget leaves.

    ``None`` where calls of the same attempt that are not settled hold what this one asks for: it is worth waiting for
    them, as most take less than they may. Raises ``BudgetExceeded`` where not even one token of output is left, and
    ``BudgetUnpriced``.
    """
    check_price(budget, call.model, call.price)
    left = _output_left(budget, reservations, call)
    enough = left is None or (call.max_tokens is not None and call.max_tokens <= left)
    if not enough and any(each.settled is None and each.attempt == attempt for each in reservations):
        return None
    if left is not None and left < 1:
        raise _exceeded(budget, reservations, call)
    output = min((bound for bound in (call.max_tokens, left) if bound is not None), default=0)
    return Reservation(
        message_id=call.message_id,
        attempt=attempt,
        model=call.model,
        input_tokens=call.input_tokens,
        output_tokens=output,
        price=call.price,
    )


def lost_usage(
    input_tokens: int, output_tokens: int, price: Price | None, reservation: Reservation | None = None
) -> Usage:
    """Return at what a call is settled whose attempt was lost before its usage stood in the log.

    What was committed of it counts: its usage, where the ledger has been told, else its output as far as the log has
    it, with an input that is estimated at what was sent.
    """
    if reservation is not None:
        if reservation.settled is not None:
            return reservation.settled
        input_tokens, price = max(input_tokens, reservation.input_tokens), price or reservation.price
    return usage_of(TokenCount(input_tokens, output_tokens), price, estimated=True)


def most_read(max_tokens: int) -> int:
    """Return how many tokens of output are read at most, by estimate, of a provider that was asked for so many."""
    return max_tokens * MARGIN_FACTOR + MARGIN_TOKENS


def _output_left(budget: Budget, reservations: Collection[Reservation], call: ModelCall) -> int | None:
    """Return how much output the budget leaves for a call, below 1 for none, ``None`` for any."""
    tokens, micros = _left(budget, reservations)
    bounds = []
    if tokens is not None:
        bounds.append(tokens - call.input_tokens)
    if micros is not None:
        assert call.price is not None
        # Costs are rounded up to a whole micro-dollar, so that what fits into the whole ones fits in any case.
        left = micros * MILLION - call.input_tokens * call.price.input_micros
        if call.price.output_micros:
            bounds.append(left // call.price.output_micros)
        elif left < 0:
            bounds.append(0)
    return min(bounds, default=None)


def _left(budget: Budget, reservations: Collection[Reservation]) -> tuple[int | None, int | None]:
    """Return how many tokens and micro-dollars are not taken, ``None`` for no bound."""
    taken = sum((each.taken for each in reservations), Usage())
    tokens, micros = budget.max_tokens, budget.max_cost_micros
    if tokens is not None:
        tokens -= taken.input_tokens + taken.output_tokens
    if micros is not None:
        # A cost that is not known was taken under no bound on money: what such a bound refuses is never called.
        micros -= taken.cost_micros or 0
    return tokens, micros


def _exceeded(budget: Budget, reservations: Collection[Reservation], call: ModelCall) -> BudgetExceeded:
    tokens, micros = _left(budget, reservations)
    if tokens is not None and tokens <= call.input_tokens:
        assert budget.max_tokens is not None
        return BudgetExceeded(bound="max_tokens", limit=budget.max_tokens, left=tokens, needed=call.input_tokens + 1)
    assert micros is not None
    assert budget.max_cost_micros is not None
    assert call.price is not None
    needed = call.price.cost_micros(TokenCount(call.input_tokens, 1))
    return BudgetExceeded(bound="max_cost_micros", limit=budget.max_cost_micros, left=micros, needed=needed)
