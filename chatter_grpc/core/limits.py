"""Limits: how much of something is allowed in a window of time or at the same time, and the ports that count."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """At most ``amount`` units in any ``seconds`` seconds."""

    amount: int
    seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether a hit is allowed, how many units are left, and in how many seconds there are more."""

    allowed: bool
    remaining: int
    reset_after: float


class RateLimiter(Protocol):
    """Counts hits against limits; counting and deciding are one atomic step. Memory is bounded by the live windows."""

    async def hit(self, key: str, limit: Limit, cost: int = 1) -> Decision:
        """Take ``cost`` units of the limit under ``key``; a refused hit takes none."""
        ...

    async def peek(self, key: str, limit: Limit) -> Decision:
        """Say whether one unit could be taken, without taking it."""
        ...

    async def clear(self, key: str, limit: Limit) -> None:
        """Forget the hits under ``key``."""
        ...


class Slots(Protocol):
    """Counts what is in use at the same time; counting and deciding are one atomic step.

    A slot that its process does not free, because it is gone, comes back by itself.
    """

    async def take(self, key: str, amount: int) -> str | None:
        """Take one of ``amount`` slots under ``key`` and return what frees it; ``None`` where none is left."""
        ...

    async def free(self, key: str, slot: str) -> None:
        """Give a slot back; once more does no harm."""
        ...

    async def run(self) -> None:
        """Keep what is held here from coming back by itself, until cancelled."""
        ...
