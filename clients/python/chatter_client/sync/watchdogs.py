"""Ends a call that has been silent for too long, which gRPC's synchronous streams cannot do by themselves."""

import threading
import time
from collections.abc import Callable
from typing import Final

# How late it may bark at most, where it was told to wait for less than before.
LOOKING_SECONDS: Final = 5.0


class Watchdog:
    """Calls ``bark`` once when nobody has fed it for as long as it was told; its thread ends with ``stop``."""

    def __init__(self, bark: Callable[[], object], seconds: float) -> None:
        self._bark = bark
        self._until: float | None = time.monotonic() + seconds
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, name="chatter watchdog", daemon=True).start()

    def feed(self, seconds: float) -> None:
        """Be quiet for so long."""
        self._until = time.monotonic() + seconds

    def rest(self) -> None:
        """Be quiet until it is fed again."""
        self._until = None

    def stop(self) -> None:
        """Watch no longer."""
        self._stopped.set()

    def _watch(self) -> None:
        while True:
            until = self._until
            left = LOOKING_SECONDS if until is None else until - time.monotonic()
            if left <= 0:
                self._bark()
                return
            if self._stopped.wait(min(left, LOOKING_SECONDS)):
                return
