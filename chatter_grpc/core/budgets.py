"""Budgets: what a run may take in all, over its steps and attempts, and what is left of that for its next model call.

Each call of a model reserves the most that it may take before it is made, and is settled once at what it took. The sum
of both over all calls of a run is what is taken; a call is given no more than the rest.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final, NamedTuple, Protocol

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

    def seconds_within(self, limit: float) -> float:
        """Return how many seconds a run may take, where none may take more than ``limit``."""
        return limit if self.max_milliseconds is None else min(limit, self.max_milliseconds / 1_000)

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a call is given. ``shortage`` says which bound gave it less than it asked for, where one did."""

    reservation: Reservation
    shortage: BudgetExceeded | None = None


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

    async def put(self, run_id: str, reservation: Reservation) -> None:
        """Write a reservation of a run that this transaction holds, in the place of one for the same message."""
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


def reserve(budget: Budget, reservations: Collection[Reservation], call: ModelCall, attempt: int = 1) -> Grant | None:
    """Return what a call may take: its input, and as much output as it asks for and the budget leaves.

    ``None`` where calls of the same attempt that are not settled hold what this one asks for: it is worth waiting for
    them, as most take less than they may. Raises ``BudgetExceeded`` where not even one token of output is left, and
    ``BudgetUnpriced``.
    """
    check_price(budget, call.model, call.price)
    bound = _tightest(budget, reservations, call)
    asked = call.max_tokens
    short = bound is not None and (asked is None or asked > bound.output_tokens)
    if short and any(each.settled is None and each.attempt == attempt for each in reservations):
        return None
    if bound is not None and bound.output_tokens < 1:
        raise bound.exceeded()
    left = None if bound is None else bound.output_tokens
    reservation = Reservation(
        message_id=call.message_id,
        attempt=attempt,
        model=call.model,
        input_tokens=call.input_tokens,
        output_tokens=min((each for each in (asked, left) if each is not None), default=0),
        price=call.price,
    )
    return Grant(reservation=reservation, shortage=bound.exceeded() if bound is not None and short else None)


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


class _Bound(NamedTuple):
    """How much output a bound of a budget leaves for a call, and what stands behind that."""

    output_tokens: int
    name: str
    limit: int
    left: int
    needed: int

    def exceeded(self) -> BudgetExceeded:
        return BudgetExceeded(bound=self.name, limit=self.limit, left=self.left, needed=self.needed)


def _tightest(budget: Budget, reservations: Collection[Reservation], call: ModelCall) -> _Bound | None:
    """Return the bound that leaves a call the least, ``None`` where it may have any number of tokens."""
    taken = [each.taken for each in reservations]
    bounds = []
    if (tokens := budget.max_tokens) is not None:
        left = tokens - sum(usage.input_tokens + usage.output_tokens for usage in taken)
        bounds.append(_Bound(left - call.input_tokens, "max_tokens", tokens, left, call.input_tokens + 1))
    if (micros := budget.max_cost_micros) is not None:
        assert call.price is not None
        # Under a bound on money no model is called whose price is not known.
        left = micros - sum(usage.cost_micros or 0 for usage in taken)
        # Costs are rounded up to a whole micro-dollar, so that what fits into the whole ones fits in any case.
        rest = left * MILLION - call.input_tokens * call.price.input_micros
        needed = call.price.cost_micros(TokenCount(call.input_tokens, 1))
        if call.price.output_micros or rest < 0:
            output = rest // call.price.output_micros if call.price.output_micros else 0
            bounds.append(_Bound(output, "max_cost_micros", micros, left, needed))
    return min(bounds, default=None)
