"""One gRPC call as the load client records it: what came when, untouched until the measurement is over."""

from collections.abc import Callable
from dataclasses import dataclass, field
from struct import Struct

MESSAGE_HEAD = Struct(">BL")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSpec:
    """What to call."""

    path: str
    """Such as `/chatter.v1.ChatService/SendMessage`."""
    request: bytes
    """The serialized request message, or the body of a plain HTTP request."""
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True, kw_only=True)
class Call:
    """A call under way, and its record. Times are nanoseconds of the machine's monotonic clock."""

    on_end: Callable[["Call"], None]
    """Called once, when the call has ended in any way."""
    started: int = 0
    ended: int = 0
    chunks: list[tuple[int, bytes]] = field(default_factory=list)
    """Content of the DATA frames, each with its time of arrival."""
    headers: dict[bytes, bytes] = field(default_factory=dict)
    """Headers and trailers."""
    error: str = ""
    """Why the call ended without trailers; empty where it has them."""
    http: bool = False
    """Whether it is a plain HTTP call, which has a status of HTTP alone."""

    def fault(self) -> str:
        """What went wrong on the wire or at the server; empty for a call that ended with status OK."""
        if self.error:
            return self.error
        if self.http:
            code = self.headers.get(b":status", b"?")
            return "" if code == b"200" else f"HTTP status {code.decode(errors='replace')}"
        status = self.headers.get(b"grpc-status")
        if status is None:
            return f"no grpc-status (HTTP {self.headers.get(b':status', b'?').decode()})"
        message = self.headers.get(b"grpc-message", b"").decode(errors="replace")
        return "" if status == b"0" else f"grpc-status {status.decode()}: {message}"


def frame_message(message: bytes) -> bytes:
    """A message with the prefix that gRPC puts before it on the wire."""
    return MESSAGE_HEAD.pack(0, len(message)) + message


def split_events(chunks: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """The data of the server-sent events in a chunked body, each with the time at which it was whole.

    Raises ValueError where the body or the last event is cut off.
    """
    events: list[tuple[int, bytes]] = []
    encoded = body = b""
    over = False
    for time, piece in chunks:
        encoded += piece
        while not over and (found := encoded.find(b"\r\n")) >= 0:
            size = int(encoded[:found], 16)
            if len(encoded) < found + 2 + size + 2:
                break
            body += encoded[found + 2 : found + 2 + size]
            encoded = encoded[found + 2 + size + 2 :]
            over = not size
        *whole, body = body.split(b"\n\n")
        events += [(time, event.removeprefix(b"data: ")) for event in whole]
    if not over or body:
        raise ValueError("the body is cut off")
    return events


def split_messages(chunks: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """The messages in a call's chunks, each with the time at which it was whole.

    Raises ValueError where the last one is cut off, or one is compressed.
    """
    messages: list[tuple[int, bytes]] = []
    buffer = b""
    for time, chunk in chunks:
        buffer = buffer + chunk if buffer else chunk
        position = 0
        while len(buffer) - position >= MESSAGE_HEAD.size:
            compressed, length = MESSAGE_HEAD.unpack_from(buffer, position)
            if compressed:
                raise ValueError("a message is compressed, which was not offered")
            start = position + MESSAGE_HEAD.size
            if start + length > len(buffer):
                break
            position = start + length
            messages.append((time, buffer[start:position]))
        buffer = buffer[position:]
    if buffer:
        raise ValueError("the last message is cut off")
    return messages
