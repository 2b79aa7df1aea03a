"""Cuts a byte stream of server-sent events into the events' data."""

_DATA = b"data: "


class EventParser:
    """Parses server-sent events fed in pieces of any size, in time linear in the bytes.

    The format is that of the HTML standard (section "Server-sent events"), with lines that end in LF or CRLF. A piece
    may end anywhere, also within a character or a line ending. Of an event only its data matters here: ``event``,
    ``id`` and ``retry`` fields and comments are passed over. An event that the stream breaks off is dropped. After an
    event that is too large, which sets ``overflowed``, nothing more is found.
    """

    __slots__ = ("_held_cr", "_max_event_bytes", "_pending", "overflowed")

    def __init__(self, *, max_event_bytes: int) -> None:
        self._max_event_bytes = max_event_bytes
        self._pending = bytearray()
        self._held_cr = False
        self.overflowed = False

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the data of the events that this piece completes, in order."""
        if self.overflowed:
            return []
        if self._held_cr or b"\r" in piece:
            piece = self._unify_line_ends(piece)
        if not self._pending and piece.endswith(b"\n\n"):
            block = piece[:-2]
        else:
            pending = self._pending
            unsearched = max(0, len(pending) - 1)
            pending += piece
            end = pending.rfind(b"\n\n", unsearched)
            block = bytes(pending[: max(0, end)])
            if end >= 0:
                del pending[: end + 2]
        found = self._cut(block) if block else []
        # One more byte may be the line ending of an event that is not over yet.
        if len(self._pending) > self._max_event_bytes + 1:
            self.overflowed = True
        return found

    def _cut(self, block: bytes) -> list[bytes]:
        found = []
        for event in block.split(b"\n\n"):
            if len(event) > self._max_event_bytes:
                self.overflowed = True
                break
            if event.startswith(_DATA) and b"\n" not in event:
                found.append(event[6:])
            else:
                found += _data_of(event)
        return found

    def _unify_line_ends(self, piece: bytes) -> bytes:
        if self._held_cr:
            piece = b"\r" + piece
        self._held_cr = piece.endswith(b"\r")
        if self._held_cr:
            piece = piece[:-1]
        return piece.replace(b"\r\n", b"\n")


def _data_of(event: bytes) -> list[bytes]:
    """Return the event's data lines joined, as the only item; nothing where it has none."""
    lines = []
    for line in event.split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"data":
            lines.append(value[1:] if value.startswith(b" ") else value)
    return [b"\n".join(lines)] if lines else []
