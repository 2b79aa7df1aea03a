"""Stream cursors lead back to their place, and nothing else is taken for one."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatter_grpc.core.errors import CursorInvalid
from chatter_grpc.rpc.cursors import CursorSigner

ATTEMPTS = st.integers(min_value=0, max_value=2**32 - 1)
SEQS = st.integers(min_value=0, max_value=2**64 - 1)
SIGNER = CursorSigner(b"k" * 32)
CURSORS = SIGNER.for_run("user_1", "run_1")


@given(ATTEMPTS, SEQS)
def test_a_cursor_leads_back_to_its_place(attempt: int, seq: int) -> None:
    assert CURSORS.decode(CURSORS.encode(attempt, seq)) == (attempt, seq)


@given(ATTEMPTS, SEQS, st.integers(0, 35), st.sampled_from(string.ascii_letters + string.digits + "-_+/= é"))
def test_a_cursor_with_one_other_character_is_refused(attempt: int, seq: int, place: int, other: str) -> None:
    cursor = CURSORS.encode(attempt, seq)
    forged = cursor[:place] + other + cursor[place + 1 :]
    if forged != cursor:
        with pytest.raises(CursorInvalid):
            CURSORS.decode(forged)


@given(st.text(max_size=80) | st.text(string.ascii_letters + string.digits + "-_", min_size=36, max_size=36))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(CursorInvalid):
        CURSORS.decode(text)


@pytest.mark.parametrize(
    ("owner", "run", "key"),
    [
        ("user_2", "run_1", b"k" * 32),
        ("user_1", "run_2", b"k" * 32),
        ("user_1run", "_1", b"k" * 32),
        ("user_1", "run_1", b"other" * 8),
    ],
)
def test_a_cursor_of_another_owner_run_or_key_is_refused(owner: str, run: str, key: bytes) -> None:
    with pytest.raises(CursorInvalid):
        CURSORS.decode(CursorSigner(key).for_run(owner, run).encode(1, 7))


def test_another_replica_with_the_same_key_takes_the_cursor() -> None:
    elsewhere = CursorSigner(b"k" * 32).for_run("user_1", "run_1")
    assert elsewhere.decode(CURSORS.encode(1, 7)) == (1, 7)


def test_a_cursor_of_a_later_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatter_grpc.rpc.cursors.VERSION", 2)
    later = CURSORS.encode(1, 7)
    monkeypatch.undo()
    with pytest.raises(CursorInvalid):
        CURSORS.decode(later)


@pytest.mark.parametrize("key", [b"", b"short", b"x" * 65])
def test_a_key_of_the_wrong_size_is_refused(key: bytes) -> None:
    with pytest.raises(ValueError, match="16 to 64 bytes"):
        CursorSigner(key)
