"""Writes the values of checkpoints as bytes and reads them again: plain values, and few types of ours.

The bytes are one that names the version, then MessagePack. Types beside its own are extensions with a number each,
which they keep for ever. There is no pickle, and no type is looked up by a name that stands in the bytes.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec.msgpack import Decoder, Encoder, Ext

from chatter_grpc.core.models import Image, Turn
from chatter_grpc.core.runs.checkpoints import CheckpointUnreadable

VERSION: Final = 1
# A list of lists of … is as deep at most; LangGraph's own are five deep.
MAX_DEPTH: Final = 64

_PLAIN: Final = (str, int, float, bool, bytes, type(None))
_TUPLE: Final = 1
_NUMBERS: Final[Mapping[type, int]] = {Turn: 2, Image: 3}
_SET: Final = 4
_ENCODER: Final = Encoder()


class CheckpointUnwritable(TypeError):
    """A value is of no type that checkpoints may hold."""


def encode(value: Any) -> bytes:
    """Return a value as bytes; raises ``CheckpointUnwritable``."""
    return bytes((VERSION,)) + _ENCODER.encode(_packed(value, MAX_DEPTH))


def decode(data: bytes) -> Any:
    """Return the value of bytes; raises ``CheckpointUnreadable``."""
    if not data or data[0] != VERSION:
        raise CheckpointUnreadable(f"version {data[:1].hex() or 'none'}, not {VERSION:02x}")
    try:
        return _DECODER.decode(memoryview(data)[1:])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CheckpointUnreadable("a damaged value") from error


class CheckpointSerializer:
    """The codec as LangGraph knows serializers."""

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """Return the name of the format, and a value's bytes in it."""
        return "chatter", encode(obj)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """Return the value; raises ``CheckpointUnreadable``."""
        name, value = data
        if name != "chatter":
            raise CheckpointUnreadable(f"the format {name!r}")
        return decode(value)


def _packed(value: Any, depth: int) -> Any:
    """Return a value as MessagePack has it. Subclasses are refused: they would come back as something else."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if depth == 0:
        raise CheckpointUnwritable("a value of a checkpoint lies too deep")
    if kind is list:
        return [_packed(item, depth - 1) for item in value]
    if kind is dict:
        return {_packed(key, depth - 1): _packed(item, depth - 1) for key, item in value.items()}
    if kind is tuple:
        return Ext(_TUPLE, _ENCODER.encode([_packed(item, depth - 1) for item in value]))
    if kind is set:
        return Ext(_SET, _ENCODER.encode([_packed(item, depth - 1) for item in sorted(value, key=repr)]))
    if kind in _NUMBERS:
        return Ext(_NUMBERS[kind], _ENCODER.encode(value))
    raise CheckpointUnwritable(f"a checkpoint holds no {kind.__name__}")


def _unpacked(number: int, data: memoryview) -> Any:
    try:
        decoder = _EXTENSIONS[number]
    except KeyError:
        raise CheckpointUnreadable(f"an extension numbered {number}") from None
    return decoder(data)


def _items(data: memoryview) -> list[Any]:
    items = _DECODER.decode(data)
    if not isinstance(items, list):
        raise CheckpointUnreadable("an extension that holds no items")
    return items


def _set(data: memoryview) -> set[Any]:
    try:
        return set(_items(data))
    except TypeError as error:
        raise CheckpointUnreadable("a set of what cannot be in one") from error


_DECODER: Final = Decoder(ext_hook=_unpacked)
_EXTENSIONS: Final[Mapping[int, Callable[[memoryview], Any]]] = {
    _TUPLE: lambda data: tuple(_items(data)),
    _SET: _set,
    **{number: Decoder(kind).decode for kind, number in _NUMBERS.items()},
}
