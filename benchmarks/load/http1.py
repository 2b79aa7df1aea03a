"""HTTP/1.1 client connections: one streamed call on each, recorded and not looked into."""

import asyncio
from time import monotonic_ns
from typing import cast

from benchmarks.load.calls import Call, CallSpec

LAST_CHUNK = b"\r\n0\r\n\r\n"
"""How a chunked body ends. No event ends so, since events end in two line feeds."""


class HttpConnection(asyncio.Protocol):
    """One connection, for one call."""

    def __init__(self, authority: str) -> None:
        self._authority = authority
        self._transport: asyncio.Transport | None = None
        self._call: Call | None = None
        self._head = b""
        self._in_body = False
        self._end = b""

    def start(self, spec: CallSpec, call: Call) -> None:
        """Post the request; the record fills, and `on_end` tells when it is complete.

        Raises ConnectionError where the connection is gone, or was used before.
        """
        if self._transport is None or self._call is not None or self._in_body:
            raise ConnectionError("the connection is closed, or used")
        self._call = call
        call.started = monotonic_ns()
        headers = "".join(f"{name}: {value}\r\n" for name, value in spec.metadata)
        head = (
            f"POST {spec.path} HTTP/1.1\r\nhost: {self._authority}\r\ncontent-type: application/json\r\n"
            f"accept: text/event-stream\r\ncontent-length: {len(spec.request)}\r\n{headers}\r\n"
        )
        self._transport.write(head.encode() + spec.request)

    def close(self) -> None:
        """Close; a call that is under way ends with an error."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Record the body; its end ends the call."""
        now = monotonic_ns()
        call = self._call
        if call is None:
            return
        if not self._in_body:
            self._head += data
            head, found, data = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            self._in_body = True
            call.headers[b":status"] = head.split(b" ", 2)[1] if head.count(b" ") else b"?"
            if call.headers[b":status"] != b"200":
                self._finish(now)
                return
        if data:
            call.chunks.append((now, data))
            self._end = (self._end + data[-len(LAST_CHUNK) :])[-len(LAST_CHUNK) :]
            if self._end == LAST_CHUNK:
                self._finish(now)

    def connection_lost(self, exc: Exception | None) -> None:
        """End what is under way."""
        self._transport = None
        self._finish(monotonic_ns(), f"the connection was lost: {exc or 'closed'}")

    def _finish(self, now: int, error: str = "") -> None:
        call, self._call = self._call, None
        if call is not None:
            call.ended = now
            call.error = error
            call.on_end(call)


async def open_http_connections(host: str, port: int, count: int) -> list[HttpConnection]:
    """`count` connections to one server. Raises OSError where it cannot be reached."""
    loop = asyncio.get_running_loop()
    connections = []
    for _ in range(count):
        _, connection = await loop.create_connection(lambda: HttpConnection(f"{host}:{port}"), host, port)
        connections.append(connection)
    return connections
