"""The load client's connection keeps to HTTP/2: windows, pings, settings, and ends of every kind."""

import asyncio

import pytest

from benchmarks.load import hpack, http2
from benchmarks.load.calls import Call, CallSpec, frame_message
from benchmarks.load.connection import Connection
from benchmarks.load.http2 import Flag, Frame, FrameReader, FrameType, Setting

SPEC = CallSpec(path="/a.B/C", request=b"question", metadata=(("authorization", "Bearer x"),))
OK = hpack.encode_headers([(b"grpc-status", b"0")])


class RecordingTransport(asyncio.Transport):
    """Keeps what is written; what it is not asked to do here, it cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def take_frames(self) -> list[Frame]:
        data, self.written = self.written.removeprefix(http2.PREFACE), b""
        return FrameReader().feed(data)


class Peer:
    """A connection with a transport in hand, and the calls that ended on it."""

    def __init__(self, window: int = http2.MAX_WINDOW) -> None:
        self.connection = Connection("host:1", window=window)
        self.transport = RecordingTransport()
        self.connection.connection_made(self.transport)
        self.ended: list[Call] = []

    def start(self, spec: CallSpec = SPEC) -> Call:
        call = Call(on_end=self.ended.append)
        self.connection.start(spec, call)
        return call

    def send(self, kind: int, flags: int, stream_id: int, payload: bytes = b"") -> None:
        self.connection.data_received(http2.write_frame(kind, flags, stream_id, payload))


def test_a_connection_opens_with_the_preface_no_header_table_and_its_window() -> None:
    peer = Peer(window=1_000_000)
    assert peer.transport.written.startswith(http2.PREFACE)
    settings, update = peer.transport.take_frames()
    assert http2.read_settings(settings[3]) == {
        Setting.HEADER_TABLE_SIZE: 0,
        Setting.ENABLE_PUSH: 0,
        Setting.INITIAL_WINDOW_SIZE: 1_000_000,
    }
    assert update == (FrameType.WINDOW_UPDATE, 0, 0, (1_000_000 - 65_535).to_bytes(4))


def test_a_call_is_headers_and_one_message_that_ends_the_request() -> None:
    peer = Peer()
    peer.transport.take_frames()
    peer.start()
    headers, data = peer.transport.take_frames()
    assert headers[:3] == (FrameType.HEADERS, Flag.END_HEADERS, 1)
    decoded = hpack.decode_headers(headers[3])
    assert decoded[b":path"] == b"/a.B/C"
    assert decoded[b"authorization"] == b"Bearer x"
    assert decoded[b"content-type"] == b"application/grpc"
    assert data == (FrameType.DATA, Flag.END_STREAM, 1, frame_message(b"question"))


def test_calls_are_told_apart_and_end_with_their_trailers() -> None:
    peer = Peer()
    first, second = peer.start(), peer.start()
    peer.send(FrameType.HEADERS, Flag.END_HEADERS, 3, hpack.encode_headers([(b":status", b"200")]))
    peer.send(FrameType.DATA, 0, 3, b"three")
    peer.send(FrameType.DATA, 0, 1, b"one")
    peer.send(FrameType.HEADERS, Flag.END_HEADERS | Flag.END_STREAM, 3, OK)
    assert peer.ended == [second]
    assert [content for _, content in second.chunks] == [b"three"]
    assert [content for _, content in first.chunks] == [b"one"]
    assert second.fault() == ""
    assert second.ended >= second.started > 0


def test_headers_may_go_on_in_a_second_frame() -> None:
    peer = Peer()
    call = peer.start()
    block = hpack.encode_headers([(b"x-long", b"y" * 100)])
    peer.send(FrameType.HEADERS, 0, 1, block[:30])
    peer.send(FrameType.CONTINUATION, Flag.END_HEADERS, 1, block[30:])
    assert call.headers == {b"x-long": b"y" * 100}
    assert not peer.ended


def test_pings_and_settings_are_acknowledged_and_acknowledgements_are_not() -> None:
    peer = Peer()
    peer.transport.take_frames()
    peer.send(FrameType.PING, 0, 0, b"12345678")
    peer.send(FrameType.SETTINGS, 0, 0)
    peer.send(FrameType.PING, Flag.ACK, 0, b"12345678")
    peer.send(FrameType.SETTINGS, Flag.ACK, 0)
    assert peer.transport.take_frames() == [
        (FrameType.PING, Flag.ACK, 0, b"12345678"),
        (FrameType.SETTINGS, Flag.ACK, 0, b""),
    ]


def test_windows_are_renewed_by_what_was_taken_once_half_is_used() -> None:
    peer = Peer(window=1_000)
    peer.start()
    peer.transport.take_frames()
    peer.send(FrameType.DATA, 0, 1, b"x" * 500)
    assert peer.transport.take_frames() == []
    peer.send(FrameType.DATA, Flag.PADDED, 1, b"\x09" + b"x" * 90 + b"\0" * 9)
    increment = (600).to_bytes(4)
    assert peer.transport.take_frames() == [
        (FrameType.WINDOW_UPDATE, 0, 0, increment),
        (FrameType.WINDOW_UPDATE, 0, 1, increment),
    ]


def test_a_request_waits_for_the_connection_to_have_room() -> None:
    peer = Peer()
    peer.transport.take_frames()
    large = CallSpec(path="/a.B/C", request=b"x" * 40_000)
    peer.start(large)
    peer.start(large)
    sent = [frame for frame in peer.transport.take_frames() if frame[0] == FrameType.DATA]
    assert [len(frame[3]) for frame in sent] == [16_384, 16_384, 7_237]
    assert [frame[1] for frame in sent] == [0, 0, Flag.END_STREAM]
    peer.send(FrameType.WINDOW_UPDATE, 0, 0, (40_000).to_bytes(4))
    assert sum(len(frame[3]) for frame in peer.transport.take_frames()) == 40_005


def test_a_request_larger_than_a_stream_takes_is_refused() -> None:
    peer = Peer()
    with pytest.raises(ValueError, match="65535"):
        peer.start(CallSpec(path="/a.B/C", request=b"x" * 65_535))


def test_a_reset_ends_its_call_alone() -> None:
    peer = Peer()
    first, second = peer.start(), peer.start()
    peer.send(FrameType.RST_STREAM, 0, 1, (8).to_bytes(4))
    assert peer.ended == [first]
    assert "HTTP/2 error 8" in first.fault()
    assert second.ended == 0


@pytest.mark.parametrize(
    "data",
    [
        http2.write_frame(FrameType.GOAWAY, 0, 0, bytes(8) + b"too_many_pings"),
        http2.write_frame(FrameType.PUSH_PROMISE, 0, 1),
        http2.write_frame(FrameType.HEADERS, Flag.END_HEADERS, 1, b"\xfe"),
        (2**17).to_bytes(3) + bytes(6),
    ],
    ids=["goaway", "push", "dynamic index", "oversized"],
)
def test_what_ends_the_connection_ends_all_its_calls(data: bytes) -> None:
    peer = Peer()
    calls = [peer.start(), peer.start()]
    peer.connection.data_received(data)
    assert peer.ended == calls
    assert all(call.error for call in calls)


def test_a_lost_connection_ends_its_calls_and_takes_no_more() -> None:
    peer = Peer()
    call = peer.start()
    peer.connection.connection_lost(OSError("gone"))
    assert "gone" in call.fault()
    with pytest.raises(ConnectionError):
        peer.start()


def test_closing_closes_the_transport() -> None:
    peer = Peer()
    peer.connection.close()
    assert peer.transport.closed
