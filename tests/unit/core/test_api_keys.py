"""The text of an API key: unguessable, findable by its prefix, and never mistaken for anything else."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatter_grpc.core.api_keys import ApiKey, IssuedApiKey, new_key_text, prefix_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def make_key(expires_at: datetime | None = None, revoked_at: datetime | None = None) -> ApiKey:
    return ApiKey(
        id="key_1",
        user_id="user_1",
        name="k",
        prefix="p",
        key_hash=b"h",
        scopes=frozenset({"chat:read"}),
        created_at=NOW,
        expires_at=expires_at,
        revoked_at=revoked_at,
    )


def test_a_new_key_tells_its_prefix() -> None:
    text = new_key_text()
    prefix = prefix_of(text)
    assert prefix is not None
    assert text.startswith(f"chk_{prefix}_")


def test_new_keys_are_all_different() -> None:
    texts = [new_key_text() for _ in range(100)]
    assert len(set(texts)) == len({prefix_of(text) for text in texts}) == 100


@given(st.text())
def test_any_text_is_parsed_or_refused(text: str) -> None:
    assert prefix_of(text) is None


@given(st.from_regex(r"chk_[0-9a-z]{12}_[0-9A-Za-z]{43}", fullmatch=True))
def test_the_form_of_a_key_is_known(text: str) -> None:
    assert prefix_of(text) == text[4:16]


@given(st.from_regex(r"chk_[0-9a-z]{12}_[0-9A-Za-z]{43}", fullmatch=True), st.data())
def test_a_key_with_a_character_more_or_less_is_none(text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(min_value=0, max_value=len(text) - 1))
    assert prefix_of(text[:at] + text[at + 1 :]) is None
    assert prefix_of(text[:at] + "0" + text[at:]) is None


@pytest.mark.parametrize(
    "text", ["chk_abcdefghijkl_" + "é" * 43, "chk_ABCDEFGHIJKL_" + "a" * 43, new_key_text() + "\n"]
)
def test_what_only_looks_like_a_key_is_none(text: str) -> None:
    assert prefix_of(text) is None


def test_a_key_holds_until_it_expires_or_is_revoked() -> None:
    assert make_key().valid_at(NOW)
    assert make_key(expires_at=NOW + timedelta(seconds=1)).valid_at(NOW)
    assert not make_key(expires_at=NOW).valid_at(NOW)
    assert not make_key(revoked_at=NOW).valid_at(NOW)


@pytest.mark.platform("T7")
def test_an_issued_key_does_not_show_its_text() -> None:
    """T7: printing the value, as a log line might, does not show the key."""
    issued = IssuedApiKey(key=make_key(), text=new_key_text())
    assert issued.text not in repr(issued)
