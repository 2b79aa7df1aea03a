"""Ends a call that has been silent for too long, which gRPC's synchronous streams cannot do by themselves."""

import threading
import time
from collections.abc import Callable


class Watchdog:
    """Calls ``bark`` once when nobody has fed it for as long as it was told; its thread ends with ``stop``."""

    def __init__(self, bark: Callable[[], object], seconds: float) -> None:
        self._bark = bark
        self._until = time.monotonic() + seconds
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, name="chatter watchdog", daemon=True).start()

    def feed(self, seconds: float) -> None:
        """Be quiet for so long."""
        self._until = time.monotonic() + seconds

    def stop(self) -> None:
        """Watch no longer."""
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(max(self._until - time.monotonic(), 0.01)):
            if time.monotonic() >= self._until:
                self._bark()
                return
