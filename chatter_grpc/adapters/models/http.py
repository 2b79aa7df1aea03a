"""Pooled HTTP connections to all providers, and waits for bytes that end at a deadline."""

import asyncio
from typing import Final

import aiohttp


class HttpPool:
    """One client session for all endpoints, made on first use inside the running event loop."""

    def __init__(self, *, max_connections: int) -> None:
        """Take the number of connections that may be open at once; a call beyond waits for a free one."""
        if max_connections < 1:
            raise ValueError("max_connections is to be above 0")
        self._max_connections = max_connections
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the pool was closed; it is not opened again."""
        return self._closed

    @property
    def session(self) -> aiohttp.ClientSession:
        """The session. Waits are bounded by whoever uses it, so it has no time-out of its own."""
        if self._closed:
            raise RuntimeError("the pool is closed")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._max_connections),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
            )
        return self._session

    async def close(self) -> None:
        """Close all connections; calls under way end as broken."""
        self._closed = True
        if self._session is not None:
            await self._session.close()


class WaitExpired(Exception):
    """No bytes came before the deadline."""


class ReadWatch:
    """Ends waits for a response's bytes: at a deadline that moves with every read, and when the connection is lost.

    One timer a stream, which looks at the deadline when it fires, costs a tenth of setting a timer for each read.
    """

    __slots__ = ("_content", "_deadline", "_loop", "_lost", "_timer", "_waiting", "_wakes_at")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._content: Final = response.content
        self._loop = asyncio.get_running_loop()
        self._deadline = 0.0
        self._waiting = False
        self._wakes_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        # aiohttp leaves a reader waiting when it gives a connection up for bytes that break the body's encoding.
        # A response that came whole has no connection any more, and nothing is waited for.
        connection = response.connection
        protocol = connection.protocol if connection is not None else None
        self._lost = protocol.closed if protocol is not None else None
        if self._lost is not None:
            self._lost.add_done_callback(self._tell_of_loss)

    async def read(self, deadline: float) -> bytes:
        """Return all bytes that are there, at least one, or none at the end.

        ``deadline`` is by the event loop's clock. Raises ``WaitExpired``, and what aiohttp raises.
        """
        self._deadline = deadline
        if self._timer is None or deadline < self._wakes_at:
            self._set_timer()
        self._waiting = True
        try:
            return await self._content.readany()
        finally:
            self._waiting = False

    def stop(self) -> None:
        """Take back what was set to wake a reader."""
        if self._lost is not None:
            self._lost.remove_done_callback(self._tell_of_loss)
            # The connection may live on in the pool; once is enough for what is then lost there.
            self._lost.remove_done_callback(_see)
            self._lost.add_done_callback(_see)
        self._take_timer_back()

    def _take_timer_back(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self) -> None:
        self._take_timer_back()
        self._wakes_at = self._deadline
        self._timer = self._loop.call_at(self._deadline, self._wake)

    def _wake(self) -> None:
        self._timer = None
        if self._deadline > self._loop.time():
            self._set_timer()
        elif self._waiting:
            self._content.set_exception(WaitExpired())

    def _tell_of_loss(self, lost: "asyncio.Future[None]") -> None:
        if not self._content.is_eof() and self._content.exception() is None:
            self._content.set_exception(aiohttp.ClientPayloadError("the connection was lost"))
        _see(lost)


def _see(lost: "asyncio.Future[None]") -> None:
    """Mark the cause of a loss as seen, which else is reported as forgotten."""
    if not lost.cancelled():
        lost.exception()
