"""Rate limits counted in the process: exact moving windows by the `limits` library, on a storage of bounded memory."""

import time
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.aio.storage import MovingWindowSupport, Storage
from limits.aio.strategies import MovingWindowRateLimiter

from chatter_grpc.core.limits import Decision, Limit

# Keys looked at for removal at each hit: more than the one that a hit may add, so that the idle ones all go.
SWEEP: Final = 2


class WindowStorage(Storage, MovingWindowSupport):
    """Keeps the times of the hits in each live window.

    The library's own memory storage looks through all of its keys after each hit, in a task or thread of its own; this
    one has neither: a hit drops what is out of its window, and up to ``SWEEP`` windows that ended.
    """

    STORAGE_SCHEME = None

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        # By length of the window, then by key in order of the last hit: the first to end stands first.
        self._windows: dict[int, dict[str, deque[float]]] = {}

    @property
    def base_exceptions(self) -> type[Exception]:
        """What the storage raises of itself: nothing that is worth wrapping."""
        return ValueError

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Take ``amount`` entries of a window if they fit."""
        now = self._clock()
        windows = self._windows.setdefault(expiry, {})
        self._sweep(windows, now - expiry)
        window = self._trimmed(windows, key, now - expiry)
        if len(window) + amount > limit:
            return False
        window.extend([now] * amount)
        windows.pop(key, None)
        windows[key] = window
        return True

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return the time of the oldest entry in the window and the number of entries."""
        now = self._clock()
        window = self._trimmed(self._windows.get(expiry, {}), key, now - expiry)
        return (window[0], len(window)) if window else (now, 0)

    async def clear(self, key: str) -> None:
        """Forget a key."""
        for windows in self._windows.values():
            windows.pop(key, None)

    async def reset(self) -> int:
        """Forget everything; return how many windows there were."""
        count = len(self)
        self._windows.clear()
        return count

    async def check(self) -> bool:
        """Say that memory is there."""
        return True

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Refuse: fixed windows are not kept here."""
        raise NotImplementedError

    async def get(self, key: str) -> int:
        """Refuse: fixed windows are not kept here."""
        raise NotImplementedError

    async def get_expiry(self, key: str) -> float:
        """Refuse: fixed windows are not kept here."""
        raise NotImplementedError

    def __len__(self) -> int:
        """Return how many windows are kept."""
        return sum(map(len, self._windows.values()))

    @staticmethod
    def _trimmed(windows: dict[str, deque[float]], key: str, start: float) -> deque[float]:
        window = windows.get(key)
        if window is None:
            return deque()
        while window and window[0] <= start:
            window.popleft()
        return window

    @staticmethod
    def _sweep(windows: dict[str, deque[float]], start: float) -> None:
        for _ in range(SWEEP):
            first = next(iter(windows), None)
            if first is None or (windows[first] and windows[first][-1] > start):
                return
            del windows[first]


class MemoryRateLimiter:
    """Counts hits for one process: counting and deciding happen without a wait between them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._storage = WindowStorage(clock)
        self._strategy = MovingWindowRateLimiter(self._storage)

    async def hit(self, key: str, limit: Limit, cost: int = 1) -> Decision:
        """Take ``cost`` units of the limit under ``key``; a refused hit takes none."""
        allowed = await self._strategy.hit(_item(limit), key, cost=cost)
        return await self._decision(key, limit, allowed=allowed)

    async def peek(self, key: str, limit: Limit) -> Decision:
        """Say whether one unit could be taken, without taking it."""
        return await self._decision(key, limit, allowed=None)

    async def clear(self, key: str, limit: Limit) -> None:
        """Forget the hits under ``key``."""
        await self._strategy.clear(_item(limit), key)

    async def _decision(self, key: str, limit: Limit, *, allowed: bool | None) -> Decision:
        stats = await self._strategy.get_window_stats(_item(limit), key)
        return Decision(
            allowed=stats.remaining > 0 if allowed is None else allowed,
            remaining=stats.remaining,
            reset_after=max(0.0, stats.reset_time - self._clock()),
        )

    def __len__(self) -> int:
        """Return how many windows are kept."""
        return len(self._storage)


@lru_cache(maxsize=256)
def _item(limit: Limit) -> RateLimitItem:
    return RateLimitItemPerSecond(limit.amount, limit.seconds)
