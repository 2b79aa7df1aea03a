"""An API key's hash says nothing without the server's key."""

from chatter_grpc.adapters.tokens.api_keys import KeyedHasher
from chatter_grpc.core.api_keys import new_key_text

KEY = bytes(range(32))


def test_the_same_text_has_the_same_hash() -> None:
    text = new_key_text()
    assert KeyedHasher(KEY).hash(text) == KeyedHasher(KEY).hash(text)
    assert len(KeyedHasher(KEY).hash(text)) == 32


def test_another_text_or_another_server_has_another_hash() -> None:
    text = new_key_text()
    assert KeyedHasher(KEY).hash(text) != KeyedHasher(KEY).hash(new_key_text())
    assert KeyedHasher(KEY).hash(text) != KeyedHasher(bytes(32)).hash(text)
