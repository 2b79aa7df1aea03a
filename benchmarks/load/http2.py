"""HTTP/2 frames (RFC 9113): writing them, and reading them from a byte stream however it is cut."""

from enum import IntEnum
from struct import Struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_PAYLOAD = 16_384
"""Largest payload that is sent or accepted: the protocol's default, which no setting of ours changes."""
DEFAULT_WINDOW = 65_535
MAX_WINDOW = 2**31 - 1
STREAM_MASK = 2**31 - 1

HEAD = Struct(">HBBBL")
SETTING = Struct(">HL")
NUMBER = Struct(">L")

Frame = tuple[int, int, int, bytes]
"""Type, flags, stream id and payload."""


class FrameType(IntEnum):
    """The frames of RFC 9113, section 6."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Flag(IntEnum):
    """Flags; ACK and END_STREAM share a bit, each on frames of its own.

    No IntFlag: its operators cost more than all else that is done to a frame.
    """

    ACK = 1
    END_STREAM = 1
    END_HEADERS = 4
    PADDED = 8
    PRIORITY = 32


class Setting(IntEnum):
    """Settings that this client sends or heeds."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    INITIAL_WINDOW_SIZE = 4


class Http2Error(ConnectionError):
    """The peer broke the protocol, or used a part of it that this client leaves out."""


def write_frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """One frame."""
    size = len(payload)
    return HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream_id) + payload


def write_settings(settings: dict[Setting, int]) -> bytes:
    """A SETTINGS frame."""
    payload = b"".join(SETTING.pack(key, value) for key, value in settings.items())
    return write_frame(FrameType.SETTINGS, 0, 0, payload)


def write_window_update(stream_id: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame; stream 0 is the connection."""
    return write_frame(FrameType.WINDOW_UPDATE, 0, stream_id, NUMBER.pack(increment))


def read_settings(payload: bytes) -> dict[int, int]:
    """The settings in a SETTINGS frame's payload."""
    return dict(SETTING.iter_unpack(payload))


def strip_padding(flags: int, payload: bytes) -> bytes:
    """The content of a DATA or HEADERS frame without padding and priority. Raises Http2Error where it is malformed."""
    start, end = 0, len(payload)
    if flags & Flag.PADDED:
        if not payload:
            raise Http2Error("a padded frame is empty")
        start, end = 1, end - payload[0]
    if flags & Flag.PRIORITY:
        start += 5
    if start > end:
        raise Http2Error("the padding is longer than the frame")
    return payload[start:end]


class FrameReader:
    """Cuts a byte stream into frames."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are whole now. Raises Http2Error for a frame that is larger than was allowed."""
        buffer = self._rest + data if self._rest else data
        position, size = 0, len(buffer)
        frames: list[Frame] = []
        while size - position >= HEAD.size:
            high, low, kind, flags, stream_id = HEAD.unpack_from(buffer, position)
            length = high << 8 | low
            if length > MAX_PAYLOAD:
                raise Http2Error(f"a frame of {length} bytes; {MAX_PAYLOAD} were allowed")
            start = position + HEAD.size
            if start + length > size:
                break
            position = start + length
            frames.append((kind, flags, stream_id & STREAM_MASK, buffer[start:position]))
        self._rest = buffer[position:]
        return frames
