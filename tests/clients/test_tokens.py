"""Where tokens are kept, and when they are due."""

import stat
from pathlib import Path

import pytest

from chatter_client import FileStore, Tokens
from chatter_client.credentials import MARGIN_SECONDS, ApiKey, Held, Session

TOKENS = Tokens(
    access_token="planted-access", refresh_token="planted-refresh", access_expires_at=1000.0, refresh_expires_at=9000.0
)


def test_a_file_of_tokens_is_its_users_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "session.json"
    FileStore(path).save(TOKENS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert FileStore(path).load() == TOKENS


def test_a_file_that_others_could_read_is_not_written_into(tmp_path: Path) -> None:
    path = tmp_path / "session.json"
    path.write_text("{}")
    path.chmod(0o644)
    FileStore(path).save(TOKENS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "no json", "[]", '{"access_token": "a"}', "null"])
def test_a_file_that_is_no_tokens_counts_as_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "session.json"
    path.write_text(content)
    assert FileStore(path).load() is None


def test_no_tokens_leave_no_file(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "session.json")
    store.save(TOKENS)
    store.save(None)
    assert store.load() is None
    assert list(tmp_path.iterdir()) == []
    store.save(None)


def test_one_at_a_time_holds_the_lock(tmp_path: Path) -> None:
    one, other = FileStore(tmp_path / "s.json"), FileStore(tmp_path / "s.json")
    assert one.try_lock()
    assert not other.try_lock()
    one.unlock()
    assert other.try_lock()
    other.unlock()


@pytest.mark.parametrize("secret", [TOKENS, ApiKey(key="planted-key"), Session(login="ada", password="planted-word")])
def test_no_secret_shows_where_its_holder_is_printed(secret: object) -> None:
    assert "planted" not in repr(secret)


@pytest.mark.parametrize(
    ("now", "usable", "bearable"),
    [(0.0, True, True), (1000.0 - MARGIN_SECONDS, False, True), (999.0, False, True), (1000.0, False, False)],
)
def test_tokens_are_due_some_time_before_their_end(now: float, usable: bool, bearable: bool) -> None:
    held = Held(clock=lambda: now, elapsed=lambda: 0.0)
    held.put(TOKENS, fresh=False)
    assert (held.usable() is not None) is usable
    assert (held.bearable() is not None) is bearable


def test_tokens_that_have_just_come_are_good_whatever_this_machines_clock_says() -> None:
    elapsed = 0.0
    held = Held(clock=lambda: 5000.0, elapsed=lambda: elapsed)
    held.put(TOKENS, fresh=True)
    assert held.usable() == TOKENS
    elapsed = MARGIN_SECONDS
    assert held.usable() is None


def test_a_token_that_was_refused_is_not_used_again() -> None:
    held = Held(clock=lambda: 0.0, elapsed=lambda: 0.0)
    held.put(TOKENS, fresh=True)
    assert held.usable(refused="planted-access") is None
    assert held.bearable(refused="planted-access") is None
    assert held.usable(refused="another") == TOKENS


def test_a_session_that_others_may_read_is_taken_from_them(tmp_path: Path) -> None:
    path = tmp_path / "session"
    store = FileStore(path)
    tokens = Tokens(access_token="a", refresh_token="r", access_expires_at=1.0, refresh_expires_at=2.0)
    store.save(tokens)
    path.chmod(0o644)
    assert store.load() == tokens
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
