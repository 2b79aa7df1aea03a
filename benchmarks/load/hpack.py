"""HPACK (RFC 7541), as much as a client needs that allows no dynamic table and sends literals only."""

from collections.abc import Iterable, Iterator

# Appendix A of the RFC, from index 1 on.
STATIC_TABLE: tuple[tuple[bytes, bytes], ...] = tuple(
    (name, value)
    for line in (
        b":authority|:method GET|:method POST|:path /|:path /index.html|:scheme http|:scheme https|:status 200|"
        b":status 204|:status 206|:status 304|:status 400|:status 404|:status 500|accept-charset|"
        b"accept-encoding gzip, deflate|accept-language|accept-ranges|accept|access-control-allow-origin|age|allow|"
        b"authorization|cache-control|content-disposition|content-encoding|content-language|content-length|"
        b"content-location|content-range|content-type|cookie|date|etag|expect|expires|from|host|if-match|"
        b"if-modified-since|if-none-match|if-range|if-unmodified-since|last-modified|link|location|max-forwards|"
        b"proxy-authenticate|proxy-authorization|range|referer|refresh|retry-after|server|set-cookie|"
        b"strict-transport-security|transfer-encoding|user-agent|vary|via|www-authenticate"
    ).split(b"|")
    for name, _, value in [line.partition(b" ")]
)


class HpackError(ValueError):
    """A header block that this decoder cannot follow."""


def encode_integer(value: int, prefix_bits: int, flags: int = 0) -> bytes:
    """An integer with an N-bit prefix (RFC 7541, 5.1); `flags` are the bits of the first byte above it."""
    limit = (1 << prefix_bits) - 1
    if value < limit:
        return bytes((flags | value,))
    encoded = bytearray((flags | limit,))
    value -= limit
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def encode_headers(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A header block of literals without indexing and without Huffman coding (6.2.2); names in lower case."""
    parts = []
    for name, value in headers:
        parts += [b"\0", encode_integer(len(name), 7), name, encode_integer(len(value), 7), value]
    return b"".join(parts)


def decode_integer(block: bytes, position: int, prefix_bits: int) -> tuple[int, int]:
    """The integer that begins at `position`, and the position after it."""
    limit = (1 << prefix_bits) - 1
    value = block[position] & limit
    position += 1
    if value < limit:
        return value, position
    shift = 0
    while True:
        byte = block[position]
        position += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def decode_string(block: bytes, position: int) -> tuple[bytes | None, int]:
    """The string that begins at `position`, None where it is Huffman-coded, and the position after it."""
    coded = block[position] & 0x80
    length, position = decode_integer(block, position, 7)
    end = position + length
    if end > len(block):
        raise HpackError("a string runs over the end of its header block")
    return None if coded else block[position:end], end


def decode_headers(block: bytes) -> dict[bytes, bytes]:
    """The headers of a block from a peer that was told to keep no dynamic table.

    Huffman-coded strings are left out: gRPC servers code nothing but binary metadata so.
    Raises HpackError for a block that refers to a dynamic table, or is cut off.
    """
    try:
        return {name: value for name, value in walk_headers(block) if name is not None and value is not None}
    except IndexError:
        raise HpackError("a header block is cut off") from None


def walk_headers(block: bytes) -> Iterator[tuple[bytes | None, bytes | None]]:
    """Each header of a block in order, with None for what is Huffman-coded."""
    position = 0
    while position < len(block):
        first = block[position]
        if first & 0x80:
            index, position = decode_integer(block, position, 7)
            yield look_up(index)
            continue
        if first & 0xE0 == 0x20:
            _, position = decode_integer(block, position, 5)
            continue
        # With a table of size 0, a literal that asks to be indexed is a literal.
        index, position = decode_integer(block, position, 6 if first & 0x40 else 4)
        name: bytes | None
        if index:
            name = look_up(index)[0]
        else:
            name, position = decode_string(block, position)
        value, position = decode_string(block, position)
        yield name, value


def look_up(index: int) -> tuple[bytes, bytes]:
    """The entry of the static table. Raises HpackError for any other index."""
    if not 1 <= index <= len(STATIC_TABLE):
        raise HpackError(f"header index {index} is not in the static table")
    return STATIC_TABLE[index - 1]
