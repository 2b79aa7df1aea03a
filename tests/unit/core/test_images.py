"""Images are known by how they begin, and nothing else passes for one."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatter_grpc.core.images import MEDIA_TYPES, image_part, media_type_of
from chatter_grpc.core.messages import ImagePart
from tests.support.images import IMAGES, PNG


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_every_type_is_known_by_its_bytes(media_type: str) -> None:
    assert media_type_of(IMAGES[media_type]) == media_type


@pytest.mark.parametrize(
    "data", [b"", b"\x89PN", b"BM" + PNG, b"<svg/>", b" " + PNG, b"RIFF\0\0\0\0WAVE", b"GIF88a", b"\xff\xd8"]
)
def test_anything_else_is_none(data: bytes) -> None:
    assert media_type_of(data) is None


@given(st.binary())
def test_no_bytes_break_it(data: bytes) -> None:
    assert media_type_of(data) in {None, *MEDIA_TYPES}


def test_a_part_tells_the_size_and_hash_of_its_data_and_does_not_show_it() -> None:
    part = image_part("image/png", PNG)
    known = {"media_type": "image/png", "size_bytes": len(PNG), "sha256": hashlib.sha256(PNG).hexdigest()}
    assert part == ImagePart(**known, data=PNG)  # type: ignore[arg-type]
    assert "PNG" not in repr(part)
