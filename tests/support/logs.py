"""The log of a test, as events."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from chatter_grpc.logs import set_up_logs

DEADLINE = 10.0


class Log(io.StringIO):
    """A stream of JSON lines."""

    def __init__(self) -> None:
        super().__init__()
        self._news = asyncio.Event()

    def write(self, text: str) -> int:
        """Take a line, and have those look again who wait for one."""
        self._news.set()
        return super().write(text)

    async def wait_for(self, name: str, count: int = 1) -> list[dict[str, Any]]:
        """Return the events of a name once there are so many: a refused caller hears of it before the log does."""
        async with asyncio.timeout(DEADLINE):
            while len(self.events(name)) < count:
                self._news.clear()
                await self._news.wait()
        return self.events(name)

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """The events, or those of one name."""
        events = [json.loads(line) for line in self.getvalue().splitlines()]
        return [event for event in events if name in {"", event["event"]}]


@contextmanager
def captured_log() -> Iterator[Log]:
    """Set the log up as the server does, at level debug and into a stream, until the block ends."""
    root, own = logging.getLogger(), logging.getLogger("chatter_grpc")
    before = (root.handlers, root.level, own.level)
    log = Log()
    set_up_logs("debug", "json", log)
    try:
        yield log
    finally:
        structlog.reset_defaults()
        root.handlers, root.level, own.level = before
