"""The HTTP side of LangChain's integrations: their requests go over our pool, with our deadlines.

An integration writes the request and reads the answer, but does not hold the connection: so that what every provider
does when its connection fails, stalls or is to be closed is one thing, which no library's choice of client changes.
"""

import asyncio
import concurrent.futures
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, Self, TypeVar

from yarl import URL

from chatter_grpc.adapters.models.call import Caller, OpenCall
from chatter_grpc.adapters.models.endpoint import EndpointConfig
from chatter_grpc.adapters.models.retries import CallFailed
from chatter_grpc.core.errors import ProviderStreamBroken, ProviderTimeout

# What an integration makes of a piece takes up to a hundred times what reading it does; others have their turn between.
_PIECE_BYTES: Final = 8 * 1024
# Belong to the connection, which is not the integration's.
_OF_THE_CONNECTION: Final = frozenset({"host", "connection", "content-length", "transfer-encoding", "accept-encoding"})

# Ends the wait of a thread for a loop that has stopped.
_GRACE_SECONDS: Final = 2.0

T = TypeVar("T")

_current: ContextVar["Line"] = ContextVar("line")


class Line:
    """The connection of one attempt: made by the integration, watched and closed by the chat.

    ``failure`` is what went wrong on it, whatever an integration makes of that.
    """

    def __init__(self, caller: Caller, endpoint: EndpointConfig) -> None:
        self._caller = caller
        self._endpoint = endpoint
        self._call: OpenCall | None = None
        self._closed = False
        self._unread = b""
        self._since_progress = 0
        self._loop = asyncio.get_running_loop()
        self._lent: asyncio.Task[Any] | None = None
        self._phase = "first_token"
        self.deadline = self._loop.time() + endpoint.first_token_seconds
        self.failure: CallFailed | None = None

    async def open(self, url: str, headers: Mapping[str, str], body: bytes) -> Mapping[str, str]:
        """Post a request and return the headers of its answer, whose status is 200; raises ``CallFailed``.

        The address is sent as it is written, since a signature may be over it.
        """
        if self._closed or self._call is not None:
            raise self._fail(self._broken())
        kept = {name: value for name, value in headers.items() if name.lower() not in _OF_THE_CONNECTION}
        try:
            self._call = await self._caller.open(URL(url, encoded=True), kept, body)
        except CallFailed as failure:
            raise self._fail(failure) from failure.__cause__
        return self._call.headers

    async def read(self) -> bytes:
        """Return the next bytes, none at the end; raises ``CallFailed``."""
        if self._closed or self._call is None:
            raise self._fail(self._broken())
        if self._unread:
            await asyncio.sleep(0)
        else:
            try:
                self._unread = await self._call.read()
            except CallFailed as failure:
                raise self._fail(failure) from failure.__cause__
        piece, self._unread = self._unread[:_PIECE_BYTES], self._unread[_PIECE_BYTES:]
        self._since_progress += len(piece)
        if self._since_progress > self._endpoint.max_event_bytes:
            raise self._fail(self._broken())
        return piece

    def progress(self) -> None:
        """Take note that what was read made sense."""
        self._since_progress = 0

    def wait_at_most(self, seconds: float) -> None:
        """Set how long the next bytes are waited for from now on, now that the answer has begun."""
        self.deadline = self._loop.time() + seconds
        self._phase = "idle"
        if self._call is not None:
            self._call.wait_at_most(seconds)

    def expire(self) -> CallFailed:
        """Say that what was waited for until the deadline did not come."""
        return self._fail(
            CallFailed(ProviderTimeout(provider=self._endpoint.provider, phase=self._phase), may_pass=False)
        )

    def lend(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something on the line for a thread, which waits for it; raises ``CallFailed``."""

        async def lent() -> T:
            self._lent = asyncio.current_task()
            try:
                return await work
            finally:
                self._lent = None

        doing = asyncio.run_coroutine_threadsafe(lent(), self._loop)
        try:
            return doing.result(max(0.0, self.deadline - self._loop.time()) + _GRACE_SECONDS)
        except (concurrent.futures.CancelledError, TimeoutError):
            raise self._broken() from None

    async def close(self, *, in_order: bool = False) -> None:
        """Give the connection back where its answer came to its end in order, else close it before returning."""
        if self._closed:
            return
        self._closed = True
        if (lent := self._lent) is not None:
            lent.cancel()
            await asyncio.wait({lent}, timeout=_GRACE_SECONDS)
        if self._call is not None:
            await self._call.close(in_order=in_order)

    def _broken(self) -> CallFailed:
        return CallFailed(ProviderStreamBroken(provider=self._endpoint.provider), may_pass=False)

    def _fail(self, failure: CallFailed) -> CallFailed:
        self.failure = self.failure or failure
        return failure


@contextmanager
def on_line(line: Line) -> Iterator[None]:
    """Let what is called in this block, and in threads that copy its context, use this line."""
    token = _current.set(line)
    try:
        yield
    finally:
        _current.reset(token)


def current_line() -> Line:
    """Return the line of the attempt at work."""
    return _current.get()


class LineTransport:
    """A transport for the clients of httpx, and of what is made after it: sends each request over the current line."""

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request; raises ``CallFailed``, also for any status but 200."""
        line = current_line()
        # Not a multi-dictionary on purpose: no integration sends a header twice.
        headers = await line.open(str(request.url), dict(request.headers), await request.aread())
        # Answers are of the library that asks.
        library = sys.modules[type(request).__module__.partition(".")[0]]
        answered = {"content-type": headers.get("Content-Type", "")}
        return library.Response(200, headers=answered, content=_Pieces(line), request=request)

    async def aclose(self) -> None:
        """Nothing is held here: lines are closed by who opened them."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave nothing behind."""


class _Pieces:
    """The bytes of an answer. No generator, which would have to be closed."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not (piece := await self._line.read()):
            raise StopAsyncIteration
        return piece
