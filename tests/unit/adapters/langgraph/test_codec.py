"""What checkpoints hold as bytes: it comes back as it was, and nothing else is read or written."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatter_grpc.adapters.langgraph.codec import MAX_DEPTH, CheckpointSerializer, CheckpointUnwritable, decode, encode
from chatter_grpc.core.models import Image, Role, Turn
from chatter_grpc.core.runs.checkpoints import CheckpointUnreadable

TEXTS = st.text()
IMAGES = st.builds(Image, media_type=TEXTS, data=st.binary())
TURNS = st.builds(Turn, role=st.sampled_from(Role), text=TEXTS, images=st.lists(IMAGES, max_size=2).map(tuple))
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXTS | st.binary()
)
VALUES = st.recursive(
    SCALARS | TURNS | IMAGES,
    lambda values: (
        st.lists(values)
        | st.lists(values).map(tuple)
        | st.sets(TEXTS | st.integers(0, 9))
        | st.dictionaries(TEXTS, values)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    assert decode(encode(value)) == value
    name, data = CheckpointSerializer().dumps_typed(value)
    assert CheckpointSerializer().loads_typed((name, data)) == value


def test_types_come_back_as_they_were() -> None:
    value = [1, 1.0, True, (1,), [1], b"1", "1", None]
    assert [type(item) for item in decode(encode(value))] == [type(item) for item in value]
    assert decode(encode({"turns", "more"})) == {"turns", "more"}


@dataclass
class Foreign:
    name: str


class Text(str):
    """A text that would come back as another one."""

    __slots__ = ()


@pytest.mark.parametrize(
    "value",
    [Foreign("x"), Text("x"), ValueError("x"), object(), datetime(2026, 1, 1, tzinfo=UTC), Role.USER, frozenset("x")],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_on_the_list_is_not_written(value: Any) -> None:
    with pytest.raises(CheckpointUnwritable):
        encode({"channel": [value]})


def test_a_value_that_lies_too_deep_is_not_written() -> None:
    value: list[Any] = []
    for _ in range(MAX_DEPTH):
        value = [value]
    with pytest.raises(CheckpointUnwritable):
        encode(value)


def test_another_version_is_not_read() -> None:
    data = encode("x")
    for other in (b"", bytes((data[0] + 1,)) + data[1:], b"\x80" + data[1:]):
        with pytest.raises(CheckpointUnreadable):
            decode(other)
    with pytest.raises(CheckpointUnreadable):
        CheckpointSerializer().loads_typed(("pickle", data))


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\xc1",
        encode("text")[1:-1],
        encode("text")[1:] + b"x",
        msgspec.msgpack.encode(msgspec.msgpack.Ext(99, b"")),
        msgspec.msgpack.encode(msgspec.msgpack.Ext(1, msgspec.msgpack.encode("no list"))),
        msgspec.msgpack.encode(msgspec.msgpack.Ext(2, msgspec.msgpack.encode({"role": "nobody", "text": "x"}))),
        msgspec.msgpack.encode(msgspec.msgpack.Ext(4, msgspec.msgpack.encode([[1]]))),
        b"\xa1\xff",
    ],
)
def test_damaged_bytes_are_told_as_that(damaged: bytes) -> None:
    with pytest.raises(CheckpointUnreadable):
        decode(encode(None)[:1] + damaged)


@given(st.binary())
def test_no_bytes_do_anything_else(data: bytes) -> None:
    with suppress(CheckpointUnreadable):
        decode(encode(None)[:1] + data)
