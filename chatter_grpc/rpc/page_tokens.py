"""Page tokens: where a list goes on, opaque, versioned, and signed for one method, owner and set of arguments."""

import base64
import binascii
import hashlib
import hmac
import json
from typing import Any, Final

from google.protobuf.message import Message

from chatter_grpc.core.errors import PageTokenInvalid
from chatter_grpc.core.pages import DEFAULT_SIZE, MAX_SIZE, PageRequest, Position

VERSION: Final = b"\x01"
SIGNATURE_BYTES: Final = 15
# The fields of a list request that may differ from one page to the next.
PAGING_FIELDS: Final = ("page_size", "page_token")


class PageTokenSigner:
    """Makes and reads page tokens. Replicas that share ``key`` (16 to 64 bytes) take one another's tokens.

    A token is signed, not sealed: the position in it is the owner's own data and goes to the owner alone.
    """

    def __init__(self, key: bytes) -> None:
        if not 16 <= len(key) <= hashlib.blake2b.MAX_KEY_SIZE:
            raise ValueError("a page token's signing key has 16 to 64 bytes")
        self._keyed = hashlib.blake2b(key=key, digest_size=SIGNATURE_BYTES, person=b"chatter-page")

    def read(self, request: Any, method: str, owner_id: str) -> PageRequest:
        """Return the page that a list request asks for, by its ``page_size`` and ``page_token``.

        Raises ``PageTokenInvalid`` where the token was not made for this method, owner and these other arguments.
        """
        size = min(request.page_size or DEFAULT_SIZE, MAX_SIZE)
        if not request.page_token:
            return PageRequest(size=size)
        return PageRequest(size=size, after=self._decode(request.page_token, request, method, owner_id))

    def write(self, position: Position | None, request: Message, method: str, owner_id: str) -> str:
        """Return the token of the page after ``position``; empty where there is none."""
        if position is None:
            return ""
        body = VERSION + json.dumps(position, ensure_ascii=False, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(body + self._sign(body, request, method, owner_id)).rstrip(b"=").decode()

    def _decode(self, token: str, request: Message, method: str, owner_id: str) -> Position:
        try:
            text = token.encode("ascii")
            raw = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
        except (UnicodeEncodeError, binascii.Error) as error:
            raise PageTokenInvalid from error
        body, signature = raw[:-SIGNATURE_BYTES], raw[-SIGNATURE_BYTES:]
        # Base64 knows several texts for the same bytes; only the one that was given out is taken back.
        canonical = base64.urlsafe_b64encode(raw).rstrip(b"=") == text
        if not hmac.compare_digest(self._sign(body, request, method, owner_id), signature) or not canonical:
            raise PageTokenInvalid
        if not body.startswith(VERSION):
            raise PageTokenInvalid
        return tuple(json.loads(body[len(VERSION) :]))

    def _sign(self, body: bytes, request: Message, method: str, owner_id: str) -> bytes:
        signed = self._keyed.copy()
        for part in (method.encode(), owner_id.encode(), other_arguments(request), body):
            signed.update(len(part).to_bytes(4) + part)
        return signed.digest()


def other_arguments(request: Message) -> bytes:
    """Return a list request's bytes without its paging fields."""
    rest = type(request)()
    rest.CopyFrom(request)
    for name in PAGING_FIELDS:
        rest.ClearField(name)
    return rest.SerializeToString(deterministic=True)
