"""Wake-ups: how readers and claimers hear of news about runs; losing one costs a second, never an event."""

from collections.abc import Callable, Collection
from typing import Final, Protocol

# At latest after so many seconds a reader looks again, woken or not.
TICK_SECONDS: Final = 1.0
# Stands among the ids of runs for all that are pending: notified when one comes up, or when one may be claimed that
# could not before, and subscribed to by those who claim them.
PENDING_RUNS: Final = "pending"
# The same for all that are to be cancelled: notified when that is durable, and subscribed to by who may be at work.
CANCELLED_RUNS: Final = "cancelled"
# The same for all that a process gave back: notified when others may take them, and subscribed to by those who do.
RELEASED_RUNS: Final = "released"


class WakeUps(Protocol):
    """Carries the ids of runs with news from those who write to those who read."""

    def notify(self, run_ids: Collection[str]) -> None:
        """Wake the subscribers of these runs, here and on other replicas; never blocks, never raises."""
        ...

    def subscribe(self, run_id: str, wake: Callable[[], None]) -> Callable[[], None]:
        """Call ``wake`` on each notification for a run and every ``TICK_SECONDS``; returns what ends it."""
        ...

    async def run(self) -> None:
        """Carry and tick until cancelled."""
        ...
