"""The keyed hash of API keys: without the server's secret, a copy of the database allows no guessing."""

import hashlib


class KeyedHasher:
    """Hashes with BLAKE2b under a key (RFC 7693). A slow hash would gain nothing: the keys are 256 random bits."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def hash(self, text: str) -> bytes:
        """Return the keyed hash, 32 bytes."""
        return hashlib.blake2b(text.encode(), digest_size=32, key=self._key, person=b"chatter api key").digest()
