"""A gRPC client connection over cleartext HTTP/2: many calls at once, each recorded and not looked into."""

import asyncio
from collections import deque
from time import monotonic_ns
from typing import cast

from benchmarks.load import hpack, http2
from benchmarks.load.calls import Call, CallSpec, frame_message
from benchmarks.load.http2 import Flag, FrameType, Http2Error, Setting


class Connection(asyncio.Protocol):
    """One connection. It grants the server windows large enough that only its own speed holds the server up."""

    def __init__(self, authority: str, *, window: int = http2.MAX_WINDOW) -> None:
        self._authority = authority.encode()
        self._window = window
        self._taken = 0
        self._reader = http2.FrameReader()
        self._transport: asyncio.Transport | None = None
        self._calls: dict[int, Call] = {}
        self._taken_by: dict[int, int] = {}
        self._next_id = 1
        self._block = b""
        self._may_send = http2.DEFAULT_WINDOW
        self._stream_may_send = http2.DEFAULT_WINDOW
        self._waiting: deque[tuple[int, bytes]] = deque()

    def start(self, spec: CallSpec, call: Call) -> None:
        """Send the request; the record fills, and `on_end` tells when it is complete.

        Raises ConnectionError where the connection is gone, ValueError for a request that is larger than the window
        of one stream.
        """
        if self._transport is None:
            raise ConnectionError("the connection is closed")
        body = frame_message(spec.request)
        if len(body) > self._stream_may_send:
            raise ValueError(f"a request of {len(body)} bytes; the server takes {self._stream_may_send}")
        stream_id, self._next_id = self._next_id, self._next_id + 2
        self._calls[stream_id] = call
        call.started = monotonic_ns()
        block = hpack.encode_headers(self._list_headers(spec))
        self._transport.write(write_block(stream_id, block))
        self._waiting.append((stream_id, body))
        self._send_waiting(self._transport)

    def close(self) -> None:
        """Close; calls that are under way end with an error."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the preface, and settings that keep the server from indexing headers."""
        self._transport = cast("asyncio.Transport", transport)
        settings = {
            Setting.HEADER_TABLE_SIZE: 0,
            Setting.ENABLE_PUSH: 0,
            Setting.INITIAL_WINDOW_SIZE: self._window,
        }
        opening = http2.PREFACE + http2.write_settings(settings)
        if self._window > http2.DEFAULT_WINDOW:
            opening += http2.write_window_update(0, self._window - http2.DEFAULT_WINDOW)
        self._transport.write(opening)

    def data_received(self, data: bytes) -> None:
        """Record what belongs to a call, answer what belongs to the connection."""
        now = monotonic_ns()
        try:
            for kind, flags, stream_id, payload in self._reader.feed(data):
                if kind == FrameType.DATA:
                    self._take_data(now, flags, stream_id, payload)
                elif kind in (FrameType.HEADERS, FrameType.CONTINUATION):
                    self._take_headers(now, kind, flags, stream_id, payload)
                else:
                    self._take_control(now, kind, flags, stream_id, payload)
        except (Http2Error, hpack.HpackError) as error:
            self._fail_all(str(error))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """End what is under way."""
        self._transport = None
        self._fail_all(f"the connection was lost: {exc or 'closed'}")

    def _list_headers(self, spec: CallSpec) -> list[tuple[bytes, bytes]]:
        return [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", spec.path.encode()),
            (b":authority", self._authority),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            (b"user-agent", b"chatter-benchmark"),
            *((name.encode(), value.encode()) for name, value in spec.metadata),
        ]

    def _take_data(self, now: int, flags: int, stream_id: int, payload: bytes) -> None:
        content = http2.strip_padding(Flag.PADDED, payload) if flags & Flag.PADDED else payload
        call = self._calls.get(stream_id)
        if call is not None and content:
            call.chunks.append((now, content))
        ended = flags & Flag.END_STREAM
        self._give_back(stream_id, len(payload), ended=bool(ended))
        if ended:
            self._end(stream_id, now)

    def _take_headers(self, now: int, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind == FrameType.HEADERS:
            if flags & Flag.END_STREAM and not flags & Flag.END_HEADERS:
                raise Http2Error("trailers that go on in another frame are left out of this client")
            self._block = http2.strip_padding(flags, payload)
        else:
            self._block += payload
            flags &= ~Flag.END_STREAM
        if not flags & Flag.END_HEADERS:
            return
        headers = hpack.decode_headers(self._block)
        call = self._calls.get(stream_id)
        if call is not None:
            call.headers.update(headers)
        if flags & Flag.END_STREAM:
            self._end(stream_id, now)

    def _take_control(self, now: int, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind == FrameType.SETTINGS and not flags & Flag.ACK:
            settings = http2.read_settings(payload)
            self._stream_may_send = settings.get(Setting.INITIAL_WINDOW_SIZE, self._stream_may_send)
            self._write(http2.write_frame(FrameType.SETTINGS, Flag.ACK, 0))
        elif kind == FrameType.PING and not flags & Flag.ACK:
            self._write(http2.write_frame(FrameType.PING, Flag.ACK, 0, payload))
        elif kind == FrameType.WINDOW_UPDATE and stream_id == 0:
            self._may_send += http2.NUMBER.unpack(payload)[0] & http2.STREAM_MASK
            if self._transport is not None:
                self._send_waiting(self._transport)
        elif kind == FrameType.RST_STREAM:
            self._end(stream_id, now, f"the stream was reset, HTTP/2 error {http2.NUMBER.unpack(payload)[0]}")
        elif kind == FrameType.GOAWAY:
            self._fail_all(f"the server is going away: {payload[8:].decode(errors='replace')}")
        elif kind == FrameType.PUSH_PROMISE:
            raise Http2Error("a push, which was declined")

    def _give_back(self, stream_id: int, size: int, *, ended: bool) -> None:
        """Renew the connection's and the stream's window once half of it is used."""
        self._taken += size
        if self._taken > self._window // 2:
            self._write(http2.write_window_update(0, self._taken))
            self._taken = 0
        if ended:
            return
        taken = self._taken_by.get(stream_id, 0) + size
        if taken > self._window // 2:
            self._write(http2.write_window_update(stream_id, taken))
            taken = 0
        self._taken_by[stream_id] = taken

    def _send_waiting(self, transport: asyncio.Transport) -> None:
        while self._waiting and len(self._waiting[0][1]) <= self._may_send:
            stream_id, body = self._waiting.popleft()
            self._may_send -= len(body)
            transport.write(write_body(stream_id, body))

    def _write(self, frame: bytes) -> None:
        if self._transport is not None:
            self._transport.write(frame)

    def _end(self, stream_id: int, now: int, error: str = "") -> None:
        call = self._calls.pop(stream_id, None)
        self._taken_by.pop(stream_id, None)
        if call is not None:
            call.ended = now
            call.error = error
            call.on_end(call)

    def _fail_all(self, error: str) -> None:
        now = monotonic_ns()
        for stream_id in list(self._calls):
            self._end(stream_id, now, error)


def write_block(stream_id: int, block: bytes) -> bytes:
    """The HEADERS frame, and CONTINUATION frames where the block is longer than one frame."""
    pieces = [block[at : at + http2.MAX_PAYLOAD] for at in range(0, len(block), http2.MAX_PAYLOAD)]
    last = len(pieces) - 1
    return b"".join(
        http2.write_frame(
            FrameType.CONTINUATION if number else FrameType.HEADERS,
            Flag.END_HEADERS if number == last else 0,
            stream_id,
            piece,
        )
        for number, piece in enumerate(pieces)
    )


def write_body(stream_id: int, body: bytes) -> bytes:
    """The DATA frames of a request, the last of which ends the client's side of the stream."""
    pieces = [body[at : at + http2.MAX_PAYLOAD] for at in range(0, len(body), http2.MAX_PAYLOAD)]
    last = len(pieces) - 1
    return b"".join(
        http2.write_frame(FrameType.DATA, Flag.END_STREAM if number == last else 0, stream_id, piece)
        for number, piece in enumerate(pieces)
    )


async def open_connections(host: str, port: int, count: int) -> list[Connection]:
    """`count` connections to one server. Raises OSError where it cannot be reached."""
    loop = asyncio.get_running_loop()
    connections = []
    for _ in range(count):
        _, connection = await loop.create_connection(lambda: Connection(f"{host}:{port}"), host, port)
        connections.append(connection)
    return connections
